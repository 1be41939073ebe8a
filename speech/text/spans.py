"""Places in a text, and the same places once it is cut into chunks or rewritten by a model's front end."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from difflib import Match, SequenceMatcher
from itertools import accumulate

Span = tuple[int, int]  # first character, and the one after the last


def chunk_spans(text: str, chunks: Sequence[str]) -> list[tuple[int, int]]:
    """Returns for each chunk the start and end index in the text that it was split from.

    text: in the form that ``clean_text`` gives. chunks: as ``split_text`` gives them: together they hold the
    letters and digits of the text, in order. Marks belong to the chunk that has them; white space and what
    was dropped between two chunks belong to neither.
    """
    spans: list[tuple[int, int]] = []
    at = 0
    for chunk in chunks:
        while at < len(text) and (text[at].isspace() or not _begins_with(chunk, text[at])):
            at += 1
        start, remaining = at, sum(map(str.isalnum, chunk))
        while at < len(text) and remaining:
            remaining -= text[at].isalnum()
            at += 1
        marks = iter(_marks_after(chunk))
        mark = next(marks, None)
        while mark is not None and at < len(text) and not text[at].isalnum():
            if text[at] == mark:
                mark = next(marks, None)
            elif not text[at].isspace():
                break
            at += 1
        spans.append((start, start + len(text[start:at].rstrip())))
    return spans


def _begins_with(chunk: str, char: str) -> bool:
    """Whether a character that is no space is the chunk's first, or the first letter of it."""
    return char == chunk[:1] or char.isalnum()


def _marks_after(chunk: str) -> str:
    """Returns the marks after the last letter or digit of a chunk, without spaces."""
    end = len(chunk)
    while end and not chunk[end - 1].isalnum():
        end -= 1
    return "".join(chunk[end:].split())


def letters_before(text: str) -> list[int]:
    """Returns for each place in a text, its end included, how many letters and digits are before it."""
    return [0, *accumulate(map(str.isalnum, text))]


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
    blocks = [Match(0, 0, len(before))]
    if before != after:
        blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    # Pairs of places, both rising: those of the letters in common, and both ends of them.
    pairs = [(0, 0)]
    for start, target, size in blocks:
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
