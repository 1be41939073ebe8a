"""Places in a paragraph where it can be cut, by how little a cut there disturbs a listener."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import regex

from speech.text.sentences import CLOSERS, sentence_ends


class Boundary(IntEnum):
    """What a cut at a position would divide. The lower, the better."""

    SENTENCE = 0
    CLAUSE = 1
    WORD = 2
    UNSPACED = 3  # inside a run of Han, kana, Thai, ...: perhaps inside a word, nothing tells
    TIED = 4  # a space inside "Dr. Smith", "10 000", "5 km", or before a mark
    INSIDE_WORD = 5  # inside a word, a number or an address
    INSIDE_GRAPHEME = 6  # inside what the reader takes for one character
    AFTER_SPACE = 7  # the start, or the same cut as the position before, which is at a space


OPENERS = frozenset("“‘«‹([{「『（【《〈¿¡„")
_CLAUSE_MARKS = frozenset(",;:!?…—،؛؟")
_FULL_WIDTH_MARKS = "。！？．，、；：…—"
# What must not be the first character of a chunk.
_NEVER_FIRST = frozenset(_FULL_WIDTH_MARKS) | frozenset(".,;:!?”’»›)]}%–-،؛؟۔।॥」』）】》〉・")

_AFTER_FULL_WIDTH_MARK = regex.compile(rf"""[{_FULL_WIDTH_MARKS}]["'”’»›)\]}}」』）】》〉]*+(?=\S)""")
# Letters of scripts that put no space between words, with the signs above and below them.
_UNSPACED_RUN = regex.compile(
    r"""(?:
    [[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\p{Thai}\p{Lao}\p{Tibetan}\p{Myanmar}\p{Khmer}]
    &&[\p{L}\p{N}]] \p{M}*+
    ){2,}+""",
    regex.VERBOSE | regex.V1,
)
# Unicode's grapheme clusters (UAX #29), and what it does not ask for: a vowel sign or small kana that is
# pronounced with its neighbour stays with it, and so does a letter that a virama joins to the one before.
CLUSTER = regex.compile(
    r"""
    [เแโใไເແໂໃໄ]?  # Thai and Lao vowels that are written before their consonant
    \X
    (?: (?<=\p{ccc=9}) (?=\p{L}) \X
      | [ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶーｧｨｩｪｫｯｬｭｮｰ々ゝゞヽヾ\uff9e\uff9fะาำๅະາຳ] \p{M}*+
    )*+
    """,
    regex.VERBOSE,
)


def rank_boundaries(text: str, language: str | None = None, line_ends: Iterable[int] = ()) -> list[Boundary]:
    """Returns for each position p of the text what a cut between text[:p] and text[p:] would divide.

    The text is one paragraph in which the only white space is single spaces. A cut at a space drops the
    space. Takes time linear in the length of the text. language: its code; None: it is not known.
    line_ends: positions at which a sentence ends whatever its last word is.
    """
    ranks = [Boundary.INSIDE_WORD] * len(text)
    if not text.isascii():
        _rank_between_letters(text, ranks)
    space = text.find(" ")
    while space >= 0:
        ranks[space] = _rank_space(text, space)
        ranks[space + 1] = Boundary.AFTER_SPACE
        space = text.find(" ", space + 1)
    for end in (*sentence_ends(text, language), *line_ends):
        ranks[end] = Boundary.SENTENCE
    ranks[0] = Boundary.AFTER_SPACE
    return ranks


def _rank_between_letters(text: str, ranks: list[Boundary]) -> None:
    for run in _UNSPACED_RUN.finditer(text):
        ranks[run.start() + 1 : run.end()] = [Boundary.UNSPACED] * (run.end() - run.start() - 1)
    for mark in _AFTER_FULL_WIDTH_MARK.finditer(text):
        end = mark.end()
        if text[end] not in _NEVER_FIRST and not (text[end].isnumeric() and _follows_digit(text, end)):
            ranks[end] = Boundary.CLAUSE
    for cluster in CLUSTER.finditer(text):
        size = cluster.end() - cluster.start()
        if size > 1:
            ranks[cluster.start() + 1 : cluster.end()] = [Boundary.INSIDE_GRAPHEME] * (size - 1)


def _rank_space(text: str, space: int) -> Boundary:
    before, after = text[space - 1], text[space + 1]
    if after in "—–" and text[space + 2 : space + 3].isalpha():  # "No sé —dijo ella—."
        return Boundary.CLAUSE
    if _is_closing(text, space + 1) or _is_opening(text, space - 1):
        return Boundary.TIED
    if before.isnumeric() and after.isalnum():  # "10 000", "5 km", "3 p.m."
        return Boundary.TIED
    if after.isnumeric() and _follows_digit(text, space):  # "5, 2024"
        return Boundary.TIED
    mark = _last_mark(text, space)
    if mark == ".":
        # No sentence end: an abbreviation, unless the mark is an ellipsis or closes a quotation.
        is_abbreviation = before == "." and ".." not in text[max(0, space - 4) : space]
        return Boundary.TIED if is_abbreviation else Boundary.CLAUSE
    is_dash = before in "-–" and text[space - 2 : space - 1] in ("", " ", "-")
    if is_dash or mark in _CLAUSE_MARKS or mark in _FULL_WIDTH_MARKS:
        return Boundary.CLAUSE
    return Boundary.WORD


def _is_closing(text: str, position: int) -> bool:
    char = text[position]
    if char in "»›”’":  # German opens with the first two, Finnish and Swedish with the others
        return not text[position + 1 : position + 2].isalnum()
    return char in _NEVER_FIRST


def _is_opening(text: str, position: int) -> bool:
    """True if the character opens something; German closes with “ and «."""
    return text[position] in OPENERS and text[max(0, position - 1)] in " " + text[position]


def _last_mark(text: str, position: int) -> str:
    """Returns the character before the position, closing quotes and brackets apart; "" if there is none."""
    while position and text[position - 1] in CLOSERS:
        position -= 1
    if text[position - 1 : position] == " ":  # French: "« Oui. »"
        position -= 1
    return text[position - 1 : position]


def _follows_digit(text: str, position: int) -> bool:
    """True if one mark before the position follows a digit, as in "1,234" and "5, 2024"."""
    return text[position - 2 : position - 1].isnumeric()
