"""The tables of cases: ``cases.tsv`` and ``disagreements.tsv``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Case(NamedTuple):
    language: str
    kind: str
    written: str
    spoken: str


class Disagreement(NamedTuple):
    language: str
    number: str
    ours: str
    other: str
    why: str


def _rows(name: str) -> list[list[str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


CASES = [Case(*row) for row in _rows("cases.tsv")]
DISAGREEMENTS = [Disagreement(*row) for row in _rows("disagreements.tsv")]
