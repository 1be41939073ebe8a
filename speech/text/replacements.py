"""Texts as they are written and as they are spoken, and which part of one is which part of the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(frozen=True)
class Replacement:
    """A stretch of a written text, and what is spoken in its place."""

    start: int  # index of its first character
    end: int  # index after its last one
    spoken: str  # empty: nothing is spoken in its place


@dataclass(frozen=True)
class SpokenText:
    """A written text with what is spoken in place of parts of it."""

    written: str
    replacements: Sequence[Replacement] = ()  # in order, none overlaps another
    warnings: Sequence[str] = ()  # sentences for the caller
    text: str = field(init=False)  # as it is spoken
    _shifts: list[int] = field(init=False, repr=False)  # after each replacement: spoken index less written
    _spoken_ends: list[int] = field(init=False, repr=False)  # of each replacement, in ``text``

    def __post_init__(self) -> None:
        parts, at = [], 0
        for each in self.replacements:
            assert at <= each.start <= each.end <= len(self.written), each
            parts += [self.written[at : each.start], each.spoken]
            at = each.end
        object.__setattr__(self, "text", "".join([*parts, self.written[at:]]))
        changes = (len(each.spoken) - (each.end - each.start) for each in self.replacements)
        shifts = list(accumulate(changes, initial=0))
        ends = [each.end + shift for each, shift in zip(self.replacements, shifts[1:], strict=True)]
        object.__setattr__(self, "_shifts", shifts)
        object.__setattr__(self, "_spoken_ends", ends)

    def written_start(self, spoken_index: int) -> int:
        """Returns where in the written text the character at an index of ``text`` comes from.

        That of a replacement is its first one.
        """
        passed = bisect_right(self._spoken_ends, spoken_index)
        position = spoken_index - self._shifts[passed]
        if passed < len(self.replacements):
            following = self.replacements[passed]
            return min(position, following.start)
        return position

    def written_end(self, spoken_index: int) -> int:
        """Returns the index after the written character that the spoken one before an index comes from.

        That of a replacement is its last one.
        """
        if spoken_index == 0:
            return 0
        passed = bisect_right(self._spoken_ends, spoken_index - 1)
        position = spoken_index - self._shifts[passed]
        if passed < len(self.replacements) and position > self.replacements[passed].start:
            return self.replacements[passed].end
        return position

    def spoken_index(self, written_index: int) -> int:
        """Returns where in ``text`` the written character at an index is spoken.

        That of one inside a replacement is the replacement's start.
        """
        passed = bisect_right(self.replacements, written_index, key=lambda each: each.end)
        position = written_index
        if passed < len(self.replacements):
            position = min(position, self.replacements[passed].start)
        return position + self._shifts[passed]

    def within(self, start: int, end: int) -> list[Replacement]:
        """Returns the replacements that touch written[start:end]."""
        first = bisect_right(self.replacements, start, key=lambda each: each.end)
        found = []
        for each in self.replacements[first:]:
            if each.start >= end:
                break
            found.append(each)
        return found


def without_overlaps(
    replacements: Iterable[Replacement], fixed: Sequence[Replacement] = ()
) -> list[Replacement]:
    """Returns replacements in order, without those that overlap one of ``fixed`` or an earlier one.

    fixed: replacements that stay, in order; they are in the result.
    """
    ends = [each.end for each in fixed]
    kept = list(fixed)
    last_end = 0
    for each in sorted(replacements, key=lambda each: each.start):
        following = bisect_right(ends, each.start)
        if each.start < last_end or (following < len(fixed) and fixed[following].start < each.end):
            continue
        kept.append(each)
        last_end = each.end
    return sorted(kept, key=lambda each: each.start)
