"""What a person at a terminal sees: lines, tables, progress and questions.

Names and files may hold anything: control characters, which a terminal acts on, characters that reorder a
line, and rich's markup are shown and never obeyed.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NoReturn, TextIO, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.text import Text

from errors import WorkerError

Thing = TypeVar("Thing")

MOST_LINES = 50  # of one kind: a folder may hold anything

_CONTROLS = ("Cc", "Cf", "Zl", "Zp")  # Cf: what reorders the text around it, or is not seen
_HARMLESS = ("\u200d", "\u200c")  # joiners, with which emoji and words of some scripts are spelled
# What callers of the worker send and what operations they ask for, as a person types it here.
_OPTIONS = {"voice_name": "--name", "new_voice_name": "--new-name", "voice_id": "NAME_OR_ID"}
_IN_HINTS = {"overwrite": "--overwrite", "list_voices": "list", "clone_voice": "add"}
_API_TERM = re.compile(rf"\b(?:{'|'.join(_IN_HINTS)})\b")
_stderr = Console(stderr=True)


class Parser(argparse.ArgumentParser):
    """Prints errors without anything that a terminal might act on."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


class LogFormatter(logging.Formatter):
    """Formats a record as one line without anything that a terminal might act on."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def sentence_of(error: WorkerError, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """Returns what an error says, in terms of the command line. names: of fields, besides the usual ones."""
    terms = {**_OPTIONS, **names}
    problems = [
        replace(problem, hint=problem.hint and _API_TERM.sub(lambda term: _IN_HINTS[term[0]], problem.hint))
        for problem in error.problems
    ]
    return type(error).of(problems).render(lambda field: terms.get(field, field))


def say(text: str) -> None:
    """Prints a line on stdout."""
    _write(text, sys.stdout)


def complain(text: str) -> None:
    """Prints a line on stderr."""
    _write(text, sys.stderr)


def complain_of_many(prefix: str, lines: Sequence[str]) -> None:
    """Prints the first MOST_LINES on stderr, and how many more there are."""
    for line in lines[:MOST_LINES]:
        complain(f"{prefix}{line}")
    if len(lines) > MOST_LINES:
        complain(f"{prefix}{len(lines) - MOST_LINES} more")


def print_json(content: object) -> None:
    """Prints JSON on stdout. What a terminal might act on is escaped, which does not change the meaning."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    for line in text.split("\n"):
        sys.stdout.write(_without_controls(line, lambda control: json.dumps(control)[1:-1]) + "\n")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Prints left-aligned columns on stdout; the first row is the header. Nothing is cut off.

    Not with ``rich.table``, which takes 6 s for a library of ten thousand voices.
    """
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def with_bar(things: Iterator[Thing], total: int) -> Iterator[Thing]:
    """Yields the things, and shows a bar on stderr that counts them where that is a terminal."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns,
        console=_stderr,
        transient=True,
        redirect_stdout=False,  # which may be a file
        redirect_stderr=False,
        disable=not sys.stderr.isatty(),
    ) as progress:
        yield from progress.track(things, total=total)


def confirm(question: str) -> bool:
    """Asks on the terminal; no answer is a no."""
    try:
        return input(printable(question)).strip().lower() in ("y", "yes")
    except EOFError:
        say("")
        return False


def printable(text: str) -> str:
    """Returns the text without what would move the cursor, colour the screen or reorder the line."""
    return _without_controls(text, lambda control: "\ufffd")


def _write(text: str, stream: TextIO) -> None:
    if stream.isatty() and sys.stderr.isatty():  # perhaps with a bar, above which its own console prints
        _stderr.print(Text(printable(text)), soft_wrap=True)
    else:
        stream.write(printable(text) + "\n")


def _without_controls(text: str, substitute: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(
        substitute(character)
        if unicodedata.category(character) in _CONTROLS and character not in _HARMLESS
        else character
        for character in text
    )
