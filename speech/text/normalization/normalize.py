"""Texts with their numbers, signs and abbreviations in words."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import regex

from cancel import CancelToken
from characters import printable_excerpt
from speech.text.normalization import cldr
from speech.text.normalization.languages import Language, language_of
from speech.text.normalization.reading import Reader, reader_of
from speech.text.normalization.scan import plain
from speech.text.replacements import Replacement, SpokenText

# What was said may hold something to say itself: "report.mp3" becomes "report dot mp3". Two passes are the
# rule, of which the second finds nothing.
_MOST_PASSES = 6
_MATCHES_PER_POLL = 256
_MOST_WARNINGS = 5
_UNREADABLE = regex.compile(r"[\p{Nd}\p{No}\p{Sc}]+")
_SPACE_BEFORE_END = regex.compile(r"[\s.,;:!?)\]}]|$")


def normalize(
    text: str, language: str, fixed: Sequence[Replacement] = (), cancel: CancelToken | None = None
) -> SpokenText:
    """Returns a text with numbers, dates, money, units, signs and abbreviations in words of its language.

    The replacements of the result name every stretch that changed. What cannot be said, and is no word, is
    dropped: emoji, marks of Markdown and HTML, the path of an address. Case and everything else stay. What
    cannot be read stays as it is written, and a warning names it. Normalizing the result changes nothing.
    Takes time linear in the length of the text.

    language: a code of ``speech.models.spec``, also with a region ("pt-PT"). fixed: replacements that were
    made before, in order; what they stand for is not read again, and they are in the result.
    cancel: looked at now and then. Raises its reason.
    """
    spoken = SpokenText(text, tuple(fixed))
    rules = language_of(language)
    if rules is None:
        warning = f"numbers and signs stay as written: there are no rules for the language {language!r}"
        return SpokenText(text, spoken.replacements, (warning,))
    reader = reader_of(rules)
    spans = {(each.start, each.end) for each in fixed}
    for _ in range(_MOST_PASSES):
        found = _read(spoken.text, reader, _spoken_spans(spoken, spans), cancel)
        if not found:
            break
        spoken = _composed(spoken, found, spans)
    return SpokenText(text, spoken.replacements, _warnings(spoken, spans, rules))


def _read(
    text: str, reader: Reader, protected: Sequence[tuple[int, int]], cancel: CancelToken | None
) -> list[Replacement]:
    """Returns what is said in place of parts of a text. protected: spans that are not read, in order."""
    searched = plain(text)
    found: list[Replacement] = []
    position = 0
    for limit, resume in (*protected, (len(text), len(text))):
        found += _read_stretch(searched, reader, position, limit, cancel)
        position = max(position, resume)
    return found


def _read_stretch(
    searched: str, reader: Reader, start: int, end: int, cancel: CancelToken | None
) -> list[Replacement]:
    found: list[Replacement] = []
    position, last_end, count = start, start, 0
    search = reader.pattern.search
    while position < end and (match := search(searched, position, end)):
        count += 1
        if cancel is not None and count % _MATCHES_PER_POLL == 0:
            cancel.raise_if_cancelled()
        begin, stop = match.span()
        position = max(stop, begin + 1)
        if match.lastgroup == "tag":
            continue
        spoken = reader.read(match, searched)
        if spoken is None:  # not what it seemed: what is in it is read by itself
            plain_match = reader.plain_pattern.match(searched, begin, end)
            spoken = reader.read(plain_match, searched) if plain_match else None
            if plain_match is None or spoken is None:
                position = begin + 1 if match.lastgroup != "digits" else position
                continue
            begin, stop = plain_match.span()
            position = stop
        if (
            spoken == ""
            and begin > last_end
            and searched[begin - 1] == " "
            and _SPACE_BEFORE_END.match(searched, stop)
        ):
            begin -= 1  # what was between two spaces leaves one
        if spoken[-1:] == "." == searched[stop : stop + 1]:
            spoken = spoken[:-1]  # "at 5pm." ends with the sentence's full stop
        found.append(Replacement(begin, stop, spoken))
        last_end = stop
    return found


def _spoken_spans(spoken: SpokenText, written: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns where in the spoken text the replacements of some written spans are, in order."""
    if not written:
        return []
    spans, shift = [], 0
    for each in spoken.replacements:
        length = len(each.spoken)
        if (each.start, each.end) in written:
            spans.append((each.start + shift, each.start + shift + length))
        shift += length - (each.end - each.start)
    return spans


def _composed(first: SpokenText, later: Sequence[Replacement], fixed: set[tuple[int, int]]) -> SpokenText:
    """Returns a text with replacements of its spoken text, all as replacements of the written one.

    fixed: written spans that are listed even if they are spoken as they are written.
    """
    second = SpokenText(first.text, later)
    spans = [(each.start, each.end) for each in first.replacements]
    spans += [(first.written_start(each.start), first.written_end(each.end)) for each in later]
    to_first, to_second = _Positions(first.replacements), _Positions(later)
    composed = []
    for start, end in _union(spans):
        spoken = second.text[to_second(to_first(start)) : to_second(to_first(end))]
        if spoken != first.written[start:end] or (start, end) in fixed:
            composed.append(Replacement(start, end, spoken))
    return SpokenText(first.written, composed)


def _union(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the spans in order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


class _Positions:
    """Where positions outside of replaced stretches are after the replacements."""

    def __init__(self, replacements: Sequence[Replacement]) -> None:
        self._ends = [each.end for each in replacements]
        changes = (len(each.spoken) - (each.end - each.start) for each in replacements)
        self._shifts = list(accumulate(changes, initial=0))

    def __call__(self, position: int) -> int:
        return position + self._shifts[bisect_right(self._ends, position)]


def _warnings(spoken: SpokenText, fixed: set[tuple[int, int]], language: Language) -> tuple[str, ...]:
    """Returns a sentence for each thing that could not be read, at most five and how many more there are."""
    unread = list(dict.fromkeys(_unread(spoken, fixed)))
    sentences = [
        f"{printable_excerpt(each, 40)!r} stays as written: it could not be read"
        for each in unread[:_MOST_WARNINGS]
    ]
    if len(unread) > _MOST_WARNINGS:
        sentences.append(f"{len(unread) - _MOST_WARNINGS} more could not be read")
    if unread and not cldr.is_available(language.locale):
        sentences.append("names of units and months are missing: the package babel cannot be loaded")
    return tuple(sentences)


def _unread(spoken: SpokenText, fixed: set[tuple[int, int]]) -> list[str]:
    """Returns the numbers and signs of money in the spoken text that are not a caller's own."""
    found, position = [], 0
    for start, end in (*_spoken_spans(spoken, fixed), (len(spoken.text), len(spoken.text))):
        found += [match[0] for match in _UNREADABLE.finditer(spoken.text, position, start)]
        position = end
    return found
