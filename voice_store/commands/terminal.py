"""What a person at a terminal sees: lines, tables, bars and questions."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

Thing = TypeVar("Thing")

_UNSEEN = ("Mn", "Me", "Cf")  # drawn with the character they follow, or not at all
_CONTROLS = ("Cc", "Zl", "Zp")
_JOINER = "\u200d"  # what follows is drawn into what was before
_AS_EMOJI = "\ufe0f"  # draws the character before it in two columns


def say(text: str) -> None:
    """A line on stdout, above a bar that is shown."""
    tqdm.write(printable(text), file=sys.stdout)


def complain(text: str) -> None:
    """A line on stderr."""
    tqdm.write(printable(text), file=sys.stderr)


def print_json(content: object) -> None:
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Left-aligned columns; the first row is the header."""
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - columns_of(cell)) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())


def with_bar(things: Iterator[Thing], total: int) -> Iterable[Thing]:
    """The things, and a bar on stderr that counts them where that is a terminal."""
    bar: Iterable[Thing] = tqdm(
        things, total=total, unit=" voices", leave=False, disable=not sys.stderr.isatty()
    )
    return bar


def confirm(question: str) -> bool:
    try:
        return input(printable(question)).strip().lower() in ("y", "yes")
    except EOFError:
        say("")
        return False


def printable(text: str) -> str:
    """Without what would move the cursor or colour the screen: names of files may hold anything."""
    return "".join(
        "\ufffd" if unicodedata.category(character) in _CONTROLS else character for character in text
    )


def columns_of(text: str) -> int:
    """How wide a terminal draws it."""
    width = 0
    before = ""
    for character in text:
        if character == _AS_EMOJI and before and _width(before) == 1:
            width += 1
        elif before != _JOINER:
            width += _width(character)
        before = character
    return width


def _width(character: str) -> int:
    if unicodedata.category(character) in _UNSEEN:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
