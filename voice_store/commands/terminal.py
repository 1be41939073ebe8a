"""What a person at a terminal sees: lines, tables, bars and questions."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NoReturn, TypeVar

from tqdm import tqdm

from errors import WorkerError

Thing = TypeVar("Thing")

_UNSEEN = ("Mn", "Me", "Cf")  # drawn with the character they follow, or not at all
_CONTROLS = ("Cc", "Cf", "Zl", "Zp")  # Cf: what reorders the text around it, or is not seen
_JOINER = "\u200d"  # what follows is drawn into what was before
_HARMLESS = (_JOINER, "\u200c")  # words of some scripts, and emoji, are spelled with them
_AS_EMOJI = "\ufe0f"  # draws the character before it in two columns


# What callers of the worker send and what operations they ask for, as one types it here.
_OPTIONS = {"voice_name": "--name", "new_voice_name": "--new-name", "voice_id": "NAME_OR_ID"}
_IN_HINTS = {"overwrite": "--overwrite", "list_voices": "list", "clone_voice": "add"}
_API_TERM = re.compile(rf"\b(?:{'|'.join(_IN_HINTS)})\b")


def sentence_of(fault: WorkerError, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """What an error says, in terms of the command line. names: of fields, that differ from the usual ones."""
    terms = {**_OPTIONS, **names}
    problems = (
        replace(problem, hint=problem.hint and _API_TERM.sub(lambda term: _IN_HINTS[term[0]], problem.hint))
        for problem in fault.problems
    )
    return type(fault).of(list(problems)).render(lambda field: terms.get(field, field))


class Parser(argparse.ArgumentParser):
    """Shows nothing on the terminal as it was typed that the terminal might act on."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


class LogFormatter(logging.Formatter):
    """A record on one line, fit to be shown."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def say(text: str) -> None:
    """A line on stdout, above a bar that is shown."""
    tqdm.write(printable(text), file=sys.stdout)


def complain(text: str) -> None:
    """A line on stderr."""
    tqdm.write(printable(text), file=sys.stderr)


def print_json(content: object) -> None:
    """On stdout; what a terminal might act on is escaped, so the JSON means the same."""
    for line in json.dumps(content, indent=2, ensure_ascii=False).split("\n"):
        escaped = (json.dumps(character)[1:-1] if _is_control(character) else character for character in line)
        sys.stdout.write((line if line.isprintable() else "".join(escaped)) + "\n")


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
    """Without what would move the cursor, colour the screen or reorder the line: names may hold anything."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if _is_control(character) else character for character in text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in _CONTROLS and character not in _HARMLESS


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
