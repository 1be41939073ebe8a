"""Paragraphs of a text: which of its line ends are pauses, and which only wrap a line.

A line ends on purpose, and not because it was full, where

- it is a heading ("# "), or the next line is an item of a list or a speaker's line of a dialogue, or
- it is shorter than 40 letters and the next line does not start with a small letter, or
- it is a line of verse: three or more lines in a row are shorter than 60 letters, after one of them the next
  word would have fitted into the longest, and none starts with a small letter, or all are shorter than 40 and
  without marks.

There is a pause after such a line: a mark at its end stays, else it gets a full stop. In three or more lines
shorter than 60 letters it gets a comma where the next line starts with a small letter, where lines end with
commas and the like, or where only the last ends with a mark. So verse with marks and small letters is read by
its marks. All other line ends are spaces, or nothing between two characters of Chinese or Japanese.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import regex

from characters import has_speakable
from speech.text.clean import clean_text
from speech.text.duration import duration_units
from speech.text.sentences import CLOSERS

# The longest stretch without a letter or digit that is kept: rows of dots, stars, emoji, marks.
MAX_MUTE_CHARS = 20

# Wrapped prose has lines of 40 letters and more; what is shorter was ended on purpose.
_WRAPPED_LINE_UNITS = 40
# An alexandrine has up to 55 letters. Prose is wrapped to 65 and more.
_VERSE_LINE_UNITS = 60
_STANZA_LINES = 3

# What is not spoken at the start of a line. A dash introduces an item or a turn: "- milk", "— Oui.", "—Sí.".
_HEADING = regex.compile(r"#{1,6}\s+")
_BULLET = regex.compile(r"[-*•‣⁃◦▪▫■□●○▶►➤→✓✔·∙]\s+|[•‣◦▪●・](?=\S)|-(?=[\p{Lu}\p{Lo}¿¡«“„])")
_INLINE_BULLET = regex.compile(r" (?=[•‣●▪◦] )")  # of a list whose line breaks were lost
_DASH = regex.compile(r"(?:[–—―]+|--+)(?:\s+|(?=[\p{L}¿¡«“„‘\"'(…]))")
# What is spoken at the start of an item: "1.", "2)", "３、", "②".
_NUMBER = regex.compile(r"\p{Nd}{1,3}(?:[.)]\s|[、．])|[①-⑳㈠-㈩]")
# The same, but it may also start a line of wrapped prose: "a)", "(iv)", "б)", "一、".
_LETTER = regex.compile(
    r"""
    [(（](?:\p{Nd}{1,3}|\p{L}|[ivx]{1,5}|[一二三四五六七八九十]{1,3})[)）]
    | (?:\p{L}|[ivx]{1,5}|[IVX]{1,5})\)\s
    | [一二三四五六七八九十]{1,3}[、．]
    """,
    regex.VERBOSE,
)
# The same, but it may also be an abbreviation whose first part is in the line before: "A.", "א.", "가.".
_INITIAL = regex.compile(r"(?:\p{L}|[ivx]{1,5}|[IVX]{1,5})\.\s")

_CLOSING = rf"(?:\ ?[{regex.escape(CLOSERS)}])*+$"
_ENDS_WITH_MARK = regex.compile(rf"[\p{{Terminal_Punctuation}}…‥⋯·–—―~〜\-]{_CLOSING}")
_ENDS_SENTENCE = regex.compile(rf"[\p{{Sentence_Terminal}}…‥⋯]{_CLOSING}")
_ENDS_CLAUSE = regex.compile(rf"[,;:—–،؛，、；：·]{_CLOSING}")
_MARK_BEFORE_SPACE = regex.compile(r"[\p{Terminal_Punctuation}…–—]\S{0,3}\ ")
_FIRST_LETTER = regex.compile(r"[\p{L}\p{N}]")
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_MUTE_STRETCH = regex.compile(rf"[\W_]{{{MAX_MUTE_CHARS + 1},}}")


@dataclass(frozen=True)
class Paragraph:
    """Lines of a text as one."""

    text: str  # its only white space is single spaces
    line_ends: tuple[int, ...]  # positions in the text at which a sentence ends with its line


def paragraphs(text: str) -> Iterator[Paragraph]:
    """Yields the paragraphs of a text that hold a letter or a digit.

    Empty lines and lines without a letter or digit end a paragraph. Bullets, heading marks and the dashes of
    a dialogue at the start of a line are left out. Of more than 20 characters in a row that are no letters or
    digits, 20 stay. Takes time linear in the length of the text.
    """
    lines = _INLINE_BULLET.sub("\n", clean_text(text).replace("\u2029", "\n\n")).splitlines()
    collapsed = (" ".join(line.split()) for line in lines)
    for speakable, group in groupby(collapsed, key=has_speakable):
        if speakable:
            yield _paragraph(list(group))


def _paragraph(lines: Sequence[str]) -> Paragraph:
    items = _items(lines)
    marks = _marks(lines, items)
    joined = []  # with a line break where a sentence ends with its line
    for line, start, mark, following in zip(lines, items, marks, [*lines[1:], ""], strict=True):
        spoken = line[start or 0 :]
        if mark and not _ENDS_WITH_MARK.search(spoken):
            spoken += _full_width(mark, spoken) if _is_wide(spoken[-1]) else mark
            is_end = mark == "."
        else:
            is_end = mark == "." and _ENDS_SENTENCE.search(spoken) is not None
        joined += [spoken, "\n" if is_end else _space(spoken, following)]
    first, *others = _MUTE_STRETCH.sub(_shorten, "".join(joined)).rstrip().split("\n")
    parts, line_ends, length = [first], [], len(first)
    for part in others:
        line_ends.append(length)
        parts += [_space(parts[-1], part), part]
        length += len(parts[-2]) + len(part)
    return Paragraph("".join(parts), tuple(line_ends))


def _items(lines: Sequence[str]) -> list[int | None]:
    """Returns for each line where its spoken text starts if it is a heading or starts an item or a turn."""
    starts: list[int | None] = []
    previous, is_after_item = "", True
    for line in lines:
        is_unwrapped = is_after_item or _units(previous) < _WRAPPED_LINE_UNITS
        is_likely = is_unwrapped or _ends_with_mark(previous)
        start = _item_start(line, is_likely=is_likely)
        starts.append(0 if start is None and is_unwrapped and _INITIAL.match(line) else start)
        previous, is_after_item = line, starts[-1] is not None
    return starts


def _item_start(line: str, *, is_likely: bool) -> int | None:
    """is_likely: whether a new item is likelier than the next line of a sentence, by the line before it."""
    if unspoken := _HEADING.match(line) or _BULLET.match(line):
        return int(unspoken.end())
    if dash := _DASH.match(line):
        start = int(dash.end())
        goes_on = line[start : start + 1].islower() and not (is_likely and dash.group().endswith(" "))
        return None if goes_on else start  # "—dijo ella—" goes on
    if _NUMBER.match(line) or (is_likely and _LETTER.match(line)):
        return 0
    return None


def _marks(lines: Sequence[str], items: Sequence[int | None]) -> list[str]:
    """Returns for each line the mark that its end has at least: "" where it only wraps."""
    starts = {index for index, item in enumerate(items) if item is not None}
    starts |= {index + 1 for index in starts if _HEADING.match(lines[index])}
    marks: list[str] = []
    for start, end in pairwise(sorted({0, len(lines)} | starts)):
        marks += [*_marks_of_prose(lines[start:end]), "."]
    marks[-1] = ""
    return marks


def _marks_of_prose(lines: Sequence[str]) -> Iterator[str]:
    """Yields the marks of lines of which only the first may be an item, without that of the last."""
    units = [_units(line) for line in lines]
    starts_small = [_starts_small(line) for line in lines[1:]]
    longest = max(map(len, lines))
    # A line that was wrapped is full: the next word would not have fitted.
    is_early = [len(line) + 1 + _first_word_chars(after) <= longest for line, after in pairwise(lines)]
    may_be_verse = len(lines) >= _STANZA_LINES and max(units) < _VERSE_LINE_UNITS
    are_short = max(units) < _WRAPPED_LINE_UNITS
    is_verse = may_be_verse and any(is_early)
    is_verse = is_verse and (not any(starts_small) or (are_short and not _have_marks(lines)))
    is_wrapped = may_be_verse and are_short and any(starts_small)
    is_one_sentence = may_be_verse and (
        any(map(_ENDS_CLAUSE.search, lines[:-1]))
        or (_ends_with_mark(lines[-1]) and not any(map(_ends_with_mark, lines[:-1])))
    )
    for duration, small in zip(units, starts_small, strict=False):
        if is_verse or not (is_wrapped or duration >= _WRAPPED_LINE_UNITS or small):
            yield "," if small or is_one_sentence else "."
        else:
            yield ""


def _have_marks(lines: Sequence[str]) -> bool:
    """Whether there is a mark in the lines, the end of the last apart."""
    return any(map(_MARK_BEFORE_SPACE.search, lines)) or any(map(_ends_with_mark, lines[:-1]))


def _units(line: str) -> float:
    """Returns the duration of a line in units; any number from 60 for one that is longer than verse."""
    return len(line) if len(line) >= _VERSE_LINE_UNITS else sum(duration_units(line))


def _starts_small(line: str) -> bool:
    letter = _FIRST_LETTER.search(line)
    return letter is not None and letter.group().islower()


def _first_word_chars(line: str) -> int:
    return 2 if _is_wide(line[0]) else len(line.partition(" ")[0])


def _ends_with_mark(line: str) -> bool:
    return _ENDS_WITH_MARK.search(line) is not None


def _space(before: str, after: str) -> str:
    """Returns what stands between two lines that are joined, as CSS Text joins them."""
    return "" if before and after and _are_unspaced(before[-1], after[0]) else " "


def _are_unspaced(before: str, after: str) -> bool:
    quotes = "“”‘’…—"  # as wide as their neighbours in Chinese
    return (_is_wide(before) and (_is_wide(after) or after in quotes)) or (
        before in quotes and _is_wide(after)
    )


def _is_wide(char: str) -> bool:
    """True for Han, kana and the marks beside them; Korean puts spaces between words."""
    is_wide = unicodedata.east_asian_width(char) in "FWH"
    return is_wide and not "\uac00" <= char <= "\ud7a3" and not unicodedata.category(char).startswith("S")


def _full_width(mark: str, line: str) -> str:
    if mark == ".":
        return "。"
    return "、" if _KANA.search(line) else "，"


def _shorten(mute: regex.Match[str]) -> str:
    stretch = str(mute.group())
    kept = stretch[:MAX_MUTE_CHARS]
    has_space = " " in stretch or "\n" in stretch
    return kept[:-1].rstrip() + " " if has_space else kept  # never weld two words together
