"""Places in a text after a front end has rewritten it, and the same places in the text as it was."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import SequenceMatcher

Span = tuple[int, int]  # first character, and the one after the last


def spans_before(written: str, rewritten: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """Returns spans of a rewritten text as spans of the text that was written.

    Letters that both have, whatever their case and however their marks are composed, are each other's place.
    Between two such letters places are interpolated.
    """
    places = _places(written, rewritten)
    return tuple((places[start], max(places[start], places[end])) for start, end in spans)


def _places(written: str, rewritten: str) -> list[int]:
    """Returns for each place in the rewritten text, its end included, the place in the written one."""
    before, before_index = _folded(written)
    after, after_index = _folded(rewritten)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    # Pairs of places, both rising: those of the letters in common, and both ends of them.
    pairs = [(0, 0)]
    for start, target, size in matcher.get_matching_blocks():
        for offset in range(size + 1):
            pairs.append((after_index[target + offset], before_index[start + offset]))
    pairs.append((len(rewritten), len(written)))
    places = [0] * (len(rewritten) + 1)
    at, place = pairs[0]
    for next_at, next_place in pairs[1:]:
        for index in range(at, next_at + 1):
            share = (index - at) / max(1, next_at - at)
            places[index] = max(place, place + int(share * (next_place - place)))
        at, place = next_at, max(place, next_place)
    return places


def _folded(text: str) -> tuple[str, list[int]]:
    """Returns a text in small letters and NFKD, and the place of each of its characters, the end included."""
    folded = [unicodedata.normalize("NFKD", char.lower()) for char in text]
    index = [place for place, chars in enumerate(folded) for _ in chars]
    return "".join(folded), [*index, len(text)]
