"""Words and phrases that are to be spoken otherwise than they are written."""

from __future__ import annotations

import functools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import regex

from characters import fold_each_character, normalize_unicode, plain_marks
from speech.text.replacements import Replacement, SpokenText

# Words of these scripts are written without spaces between them: none of their letters is a word's edge.
_SCRIPTS_WITHOUT_SPACES = ("Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar")
_MAY_CHANGE = regex.compile(r"[^\p{NFC_QC=Y}]|\p{M}")  # in NFC
_COVER = "\ufffc"  # the object replacement character stands where nothing is to be found
_CACHED_LEXICONS = 64  # a few hundred kB each with 500 entries


@dataclass(frozen=True)
class Pronunciation:
    """How a word or a phrase is spoken."""

    text: str  # as it is written
    say: str  # what is spoken in its place
    case_sensitive: bool = False
    whole_word: bool = True


def find_pronunciations(
    text: str, levels: Sequence[Sequence[Pronunciation]], fixed: Sequence[Replacement] = ()
) -> list[Replacement]:
    """Returns where entries are found in the text, in order, none over another or over a ``fixed`` span.

    The replacements of ``fixed`` are not in the result. levels: lists of entries; of two entries for the
    same characters that of the earlier list counts, within a list the one that is case-sensitive, then the
    earlier one. The search goes from left to right: at each place the longest entry of all levels is taken,
    and the search goes on behind it.

    Texts are compared in NFC; white space, apostrophes and hyphens of all kinds are alike. Without
    ``case_sensitive`` each character is compared by its simple case folding: ``ß`` is not ``ss``. An entry
    never ends before a combining mark. With ``whole_word`` there is no letter, digit, mark or underscore
    beside a letter or digit at the entry's edge, and no decimal point or comma with a digit behind it
    beside a digit. Apostrophes, hyphens and full stops are edges: "Nguyen" is found in "Nguyen's". An edge
    that is neither letter nor digit ("C++", "@home", ".NET"), and one in a script without spaces between
    words, may stand beside anything.

    Takes time by the length of the text and of the entries.
    """
    scanners = [
        _Scan(scanner, level)
        for level, entries in enumerate(levels)
        for scanner in _compile_lexicon(tuple(entries))
    ]
    if not scanners:
        return []
    composed = _compose(_cover(text, fixed))
    as_written = plain_marks(composed.text)
    folded = fold_each_character(composed.text)
    empty = [each.start for each in fixed if each.start == each.end]
    found = []
    for start, end, say in _matches(scanners, as_written, folded):
        first, last = composed.written_start(start), composed.written_end(end)
        if bisect_right(empty, first) == bisect_left(empty, last):
            found.append(Replacement(first, last, say))
    return found


def _cover(text: str, fixed: Sequence[Replacement]) -> str:
    """The text with fixed spans of characters that no entry has and that are edges of words."""
    parts, at = [], 0
    for each in fixed:
        parts += [text[at : each.start], _COVER * (each.end - each.start)]
        at = each.end
    return "".join([*parts, text[at:]])


def _compose(text: str) -> SpokenText:
    """The text in NFC, with the places where its characters come from."""
    if text.isascii() or not _MAY_CHANGE.search(text):
        return SpokenText(text)
    changes = []
    composed_as: dict[str, str] = {}
    for cluster in regex.finditer(r"\X", text):  # composition never reaches beyond a grapheme cluster
        written = cluster[0]
        composed = composed_as.get(written)
        if composed is None:
            composed = composed_as[written] = normalize_unicode("NFC", written)
        if composed != written:
            changes.append(Replacement(cluster.start(), cluster.end(), composed))
    return SpokenText(text, changes)


class _Scanner(NamedTuple):
    """Finds the entries of a list that are compared in the same way."""

    pattern: re.Pattern[str]
    says: Mapping[str, str]  # by text, as it is compared
    case_sensitive: bool


@dataclass
class _Scan:
    """A scanner at work on a text."""

    scanner: _Scanner
    level: int
    start: int = -1  # of the next match; -1: to be looked for
    end: int = -1

    def look(self, text: str, position: int) -> bool:
        """Finds the next match from a position on; False if there is none. text: as it is compared."""
        if self.start < position:
            found = self.scanner.pattern.search(text, position)
            if found is None:
                return False
            self.start, self.end = found.span()
        return True


def _matches(scans: Sequence[_Scan], as_written: str, folded: str) -> Iterator[tuple[int, int, str]]:
    """The entries that are found, as (start, end, say)."""
    position = 0
    while scans := [
        scan for scan in scans if scan.look(as_written if scan.scanner.case_sensitive else folded, position)
    ]:
        first = min(scans, key=lambda scan: (scan.start, -scan.end, scan.level))
        text = as_written if first.scanner.case_sensitive else folded
        yield first.start, first.end, first.scanner.says[text[first.start : first.end]]
        position = first.end


@functools.lru_cache(_CACHED_LEXICONS)
def _compile_lexicon(entries: tuple[Pronunciation, ...]) -> tuple[_Scanner, ...]:
    """The scanners of a list, those that are case-sensitive first."""
    kinds: dict[tuple[bool, bool, bool], dict[str, str]] = {}
    for entry in entries:
        key = normalize_unicode("NFC", entry.text)
        key = plain_marks(key) if entry.case_sensitive else fold_each_character(key)
        if not key.strip() or _COVER in key:
            continue
        edges = (key[0], key[-1]) if entry.whole_word else ("", "")
        starts_word, ends_word = (bool(_word_character().match(char)) for char in edges)
        kinds.setdefault((entry.case_sensitive, starts_word, ends_word), {}).setdefault(key, entry.say)
    return tuple(
        _Scanner(_pattern(says, starts_word, ends_word), says, case_sensitive)
        for (case_sensitive, starts_word, ends_word), says in sorted(
            kinds.items(), key=lambda kind: not kind[0][0]
        )
    )


def _pattern(words: Mapping[str, str], starts_word: bool, ends_word: bool) -> re.Pattern[str]:
    """Matches the longest of the words, where its edges are such."""
    word = _word_character().pattern
    before = rf"(?<!{word})(?!(?<=\d[.,])\d)" if starts_word else ""
    after = rf"(?!{word})(?!(?<=\d)[.,]\d)" if ends_word else ""
    mark = _mark().pattern
    return re.compile(f"{before}{_tree(sorted(words), 0)}(?!{mark}){after}")


def _tree(words: Sequence[str], depth: int) -> str:
    """An expression for words that share ``depth`` characters: what comes after those, the longest first.

    words: sorted, each once. No place is looked at twice, however much the words have in common.
    """
    shared = depth
    first, last = words[0], words[-1]
    while shared < len(first) and first[shared] == last[shared]:
        shared += 1
    head = re.escape(first[depth:shared])
    if len(words) == 1:
        return head
    branches, at = [], int(len(first) == shared)  # the shortest word ends where the others branch
    while at < len(words):
        until = at
        while until < len(words) and words[until][shared] == words[at][shared]:
            until += 1
        branches.append(_tree(words[at:until], shared))
        at = until
    if len(first) == shared:
        branches.append("")
    return f"{head}(?:{'|'.join(branches)})"


@functools.cache
def _word_character() -> re.Pattern[str]:
    """A letter, digit, mark or underscore of a script that has spaces between its words."""
    without = "".join(rf"--\p{{scx={script}}}" for script in _SCRIPTS_WITHOUT_SPACES)
    return _character_class(rf"[[\p{{L}}\p{{M}}\p{{N}}_]{without}]")


@functools.cache
def _mark() -> re.Pattern[str]:
    return _character_class(r"\p{M}")


def _character_class(properties: str) -> re.Pattern[str]:
    """A class of characters, as ``re`` takes it, which searches many words faster than ``regex``."""
    characters = "".join(map(chr, (*range(0x40000), *range(0xE0100, 0xE01F0))))  # nothing is between them
    runs = regex.finditer(f"(?:{properties})+", characters, flags=regex.V1)
    return re.compile(f"[{''.join(f'{re.escape(run[0][0])}-{re.escape(run[0][-1])}' for run in runs)}]")
