"""Texts to speak in benchmarks, on machines without the packages that listen as well."""

from __future__ import annotations

from pathlib import Path

SENTENCES = Path(__file__).with_name("sentences.txt")  # every word is in the recogniser's dictionary


def sentences(count: int | None = None) -> list[str]:
    """Returns the first sentences of the test set, all of them without a count."""
    return SENTENCES.read_text().splitlines()[:count]


def replies() -> list[str]:
    """Returns twelve texts of one, two and three sentences in turn: as long as an assistant's answers."""
    rest = iter(sentences(24))
    return [" ".join(next(rest) for _ in range(1 + number % 3)) for number in range(12)]
