"""How good a place each position of a paragraph is to stop speaking."""

from __future__ import annotations

from enum import IntEnum

import sentencex

from speech.scripts import is_grapheme_boundary, is_written_without_spaces


class Boundary(IntEnum):
    """What a cut at a position would divide. The lower, the better."""

    SENTENCE = 0
    CLAUSE = 1
    WORD = 2
    LETTER = 3  # inside a run of Han, kana, Thai, ...: perhaps inside a word, nothing tells
    BOUND = 4  # a space inside "Dr. Smith", "10 000", "5 km", or before a mark
    GRAPHEME = 5  # inside a word, a number or an address
    CODEPOINT = 6  # inside what the reader takes for one character
    NONE = 7  # the place is already counted one character earlier


_CLOSERS = frozenset("\"'”’»›)]}」』）】》〉")
_OPENERS = frozenset("“‘«‹([{「『（【《〈¿¡")
_CLAUSE_MARKS = frozenset(",;:!?…—،؛؟")
_FULL_WIDTH_ENDS = frozenset("。！？．")
_FULL_WIDTH_MARKS = _FULL_WIDTH_ENDS | frozenset("，、；：…—")
# What must not be the first character of a piece.
_NEVER_FIRST = _FULL_WIDTH_MARKS | frozenset(".,;:!?”’»›)]}%–-،؛؟।॥」』）】》〉・")

# Not in sentencex's English list. Only before a digit or a small letter: "He took the max. Then".
_MORE_ABBREVIATIONS = frozenset(
    [
        "approx",
        "apt",
        "avg",
        "cf",
        "ch",
        "est",
        "ext",
        "fig",
        "incl",
        "max",
        "min",
        "misc",
        "nos",
        "op",
        "pp",
        "resp",
        "sec",
        "tel",
        "temp",
        "ver",
        "viz",
        "vol",
        "vols",
    ]
)


def rank_boundaries(text: str) -> list[Boundary]:
    """For each position p of ``text``, what a cut between text[:p] and text[p:] would divide.

    ``text`` is one paragraph in which the only white space is single spaces. A cut at a space
    drops the space; position 0 and those after a space are NONE.
    """
    sentence_ends = _find_sentence_ends(text)
    return [
        Boundary.SENTENCE if position in sentence_ends else _rank(text, position)
        for position in range(len(text))
    ]


def _find_sentence_ends(text: str) -> frozenset[int]:
    ends = set()
    for boundary in sentencex.get_sentence_boundaries("en", text):
        end = boundary["end_index"]
        end -= text[end - 1] == " "
        if 0 < end < len(text) and _ends_sentence(text, end):
            ends.add(end)
    return frozenset(ends)


def _ends_sentence(text: str, end: int) -> bool:
    """Second thoughts on sentencex's answer, which also splits "a.Name" and "approx. three"."""
    if text[end] != " ":
        return text[end - 1] in _FULL_WIDTH_ENDS and text[end] not in _NEVER_FIRST
    if text[end - 1] != "." or not (text[end + 1].isnumeric() or text[end + 1].islower()):
        return True
    last_word = text[text.rfind(" ", 0, end) + 1 : end - 1]
    return last_word.strip("([\"'").lower() not in _MORE_ABBREVIATIONS


def _rank(text: str, position: int) -> Boundary:
    if position == 0 or text[position - 1] == " ":
        return Boundary.NONE
    if text[position] == " ":
        return _rank_space(text, position)
    before, after = text[position - 1], text[position]
    if not is_grapheme_boundary(text, position):
        return Boundary.CODEPOINT
    if after in _NEVER_FIRST or before in _OPENERS:
        return Boundary.GRAPHEME
    mark = _last_mark(text, position)
    if mark in _FULL_WIDTH_MARKS and not (after.isnumeric() and _follows_digit(text, position)):
        return Boundary.CLAUSE
    if is_written_without_spaces(before) and is_written_without_spaces(after):
        return Boundary.LETTER
    return Boundary.GRAPHEME


def _rank_space(text: str, position: int) -> Boundary:
    before, after = text[position - 1], text[position + 1]
    if after in _NEVER_FIRST or before in _OPENERS:
        return Boundary.BOUND
    if before.isnumeric() and after.isalnum():  # "10 000", "5 km", "3 p.m."
        return Boundary.BOUND
    if after.isnumeric() and _follows_digit(text, position):  # "5, 2024"
        return Boundary.BOUND
    mark = _last_mark(text, position)
    if mark == ".":
        # sentencex says that the sentence goes on: an abbreviation, unless it is an ellipsis
        return Boundary.CLAUSE if ".." in text[max(0, position - 4) : position] else Boundary.BOUND
    is_dash = before in "-–" and text[position - 2 : position - 1] in ("", " ", "-")
    if is_dash or mark in _CLAUSE_MARKS or mark in _FULL_WIDTH_MARKS:
        return Boundary.CLAUSE
    return Boundary.WORD


def _last_mark(text: str, position: int) -> str:
    """The character before ``position``, closing quotes and brackets apart; "" if there is none."""
    while position and text[position - 1] in _CLOSERS:
        position -= 1
    return text[position - 1 : position]


def _follows_digit(text: str, position: int) -> bool:
    """True when one mark before ``position`` follows a digit, as in "1,234" and "5, 2024"."""
    return text[position - 2 : position - 1].isnumeric()
