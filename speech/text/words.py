"""The words of a text as they are written, each with what is spoken for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import regex

from characters import has_speakable
from speech.text.boundaries import CLUSTER, OPENERS
from speech.text.chinese import Segmenter
from speech.text.replacements import Replacement, SpokenText

_UNSPACED = (  # letters of scripts that put no space between words
    r"[[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Bopomofo}\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}]"
    r"&&[\p{L}\p{N}]]"
)
# White space; letters of such a script; marks behind them; or anything else up to one of these, to an opening
# mark before such a letter, or to a dash or dots that a word follows: "you—ask", "wait...what".
_TOKEN = regex.compile(
    rf"""
    (?P<space>\s+)
  | (?P<unspaced>(?:{_UNSPACED}\p{{M}}*+)++)
  | (?<={_UNSPACED}\p{{M}}*+) [^\s\p{{L}}\p{{N}}]++
  | (?:(?!{_UNSPACED})\S)+?
    (?: (?=\s|{_UNSPACED}|$) | (?<=\w)(?=[{regex.escape("".join(sorted(OPENERS)))}]{_UNSPACED})
      | (?<=[—…]|--|\.\.)(?=[\p{{L}}\p{{N}}]) )
    """,
    regex.VERBOSE | regex.V1,
)
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_HAN = regex.compile(r"\p{Han}")
# A Japanese phrase: a noun or stem in Han or katakana with the endings and particles in hiragana behind it.
_JAPANESE_PHRASE = regex.compile(
    r"(?:[\p{scx=Han}ヶヵ]++|[\p{scx=Katakana}--\p{scx=Hiragana}][\p{scx=Katakana}]*+)?\p{Hiragana}[\p{Hiragana}ー]*+"
    r"|[\p{scx=Han}ヶヵ]++|\p{scx=Katakana}++|\X",
    regex.V1,
)
_SPOKEN_CORE = regex.compile(r"[\p{L}\p{N}](?:.*[\p{L}\p{N}])?\p{M}*", regex.DOTALL)


@dataclass(frozen=True)
class Word:
    """A word of a written text, and what is spoken for it."""

    text: str  # as it is written, with the marks at it: "(May", "3,"
    spoken: str  # with the marks, too
    spoken_start: int  # index in ``SpokenText.text`` of the first letter or digit spoken
    spoken_end: int  # index after the last one
    space_after: bool = True  # whether white space follows in the written text


def words_of(
    spoken: SpokenText, language: str | None = None, start: int = 0, end: int | None = None
) -> list[Word]:
    """Returns the words of ``spoken.written[start:end]``, in order.

    A word is what stands between spaces, with its marks: caption and karaoke tools put such words side by
    side. Marks that stand alone belong to the word before them ("word —"); at the start, and where they open
    something, to the one after them. A dash or dots between letters end a word. In scripts without spaces,
    words are those of rjieba (Chinese), a noun or stem with its endings (Japanese), and letters with their
    signs (Thai, Lao, Khmer, Burmese).

    What is replaced as a whole is one word, even with spaces in it ("3, 2024"), but for words at its start
    and end that are spoken as they are written. What is dropped is in no word, and a text in which nothing
    is spoken has none. A replacement that is only partly in the range counts as if all of it were.

    language: the code of the text's language; None: it is not known. Takes linear time.
    """
    end = len(spoken.written) if end is None else end
    written = spoken.written[start:end]
    shifted = (_shifted(each, start, end) for each in spoken.within(start, end))
    local = SpokenText(written, [_without_equal_words(written, each) for each in shifted])
    offset = spoken.spoken_index(start)
    words = []
    for each in _join(_stretches(local, language)):
        core = _SPOKEN_CORE.search(each.spoken)
        assert core is not None
        first = offset + each.spoken_start
        words.append(Word(each.text, each.spoken, first + core.start(), first + core.end(), each.space_after))
    return words


def _shifted(replacement: Replacement, start: int, end: int) -> Replacement:
    """Returns the replacement as one of the text from ``start`` to ``end``."""
    first, last = max(replacement.start, start), min(replacement.end, end)
    return Replacement(first - start, last - start, replacement.spoken)


def _without_equal_words(written: str, replacement: Replacement) -> Replacement:
    """Returns the replacement without words at its start and its end that are spoken as they are written."""
    before = written[replacement.start : replacement.end].split(" ")
    after = replacement.spoken.split(" ")
    most = min(len(before), len(after)) - 1  # one stays on either side
    first = 0
    while first < most and before[first] == after[first]:
        first += 1
    last = 0
    while last < most - first and before[-1 - last] == after[-1 - last]:
        last += 1
    return Replacement(
        replacement.start + sum(len(word) + 1 for word in before[:first]),
        replacement.end - sum(len(word) + 1 for word in before[len(before) - last :]),
        " ".join(after[first : len(after) - last]),
    )


@dataclass
class _Stretch:
    """A part of a text between two places where words may end."""

    text: str  # as it is written, without what is dropped
    spoken: str
    spoken_start: int  # index in the spoken text of its first character
    space_after: bool = False


def _stretches(local: SpokenText, language: str | None) -> list[_Stretch]:
    """Returns the text's words and rows of marks, without white space and without what is dropped."""
    stretches: list[_Stretch] = []
    start = 0
    for end in _outside(local.replacements, _tokens(local.written, language)):
        spoken_start = local.spoken_index(start)
        spoken = local.text[spoken_start : local.spoken_index(end)]
        text = _undropped(local, start, end)
        if text.isspace() and not has_speakable(spoken):
            if stretches:
                stretches[-1].space_after = True
        elif text:
            stretches.append(_Stretch(text, spoken, spoken_start))
        start = end
    return stretches


def _outside(replacements: Sequence[Replacement], ends: Iterator[int]) -> Iterator[int]:
    """Yields the indexes that are not inside a replacement."""
    following = 0
    for end in ends:
        while following < len(replacements) and replacements[following].end <= end:
            following += 1
        if following == len(replacements) or end <= replacements[following].start:
            yield end


def _undropped(local: SpokenText, start: int, end: int) -> str:
    """Returns written[start:end] without what is dropped."""
    parts = []
    for each in local.within(start, end):
        if not each.spoken:
            parts.append(local.written[start : each.start])
            start = each.end
    return "".join([*parts, local.written[start:end]])


def _join(stretches: Sequence[_Stretch]) -> list[_Stretch]:
    """Returns the words, with the rows of marks that belong to them."""
    words: list[_Stretch] = []
    closing: list[_Stretch] = []  # marks of the last word
    opening: list[str] = []  # marks that wait for the word after them
    touches = False  # whether the stretch before ends where this one starts
    for number, each in enumerate(stretches, start=1):
        if has_speakable(each.spoken):
            _close(words, closing)
            words.append(replace(each, text="".join([*opening, each.text])))
            closing, opening = [], []
        else:
            closed, opened = _divided(each.text)
            touches_next = number < len(stretches) and not each.space_after
            if not words or opening or (touches_next and not touches):
                closed, opened = "", each.text
            if closed:
                closing.append(replace(each, text=" " * words[-1].space_after + closed))
                if not opened:
                    words[-1].space_after = each.space_after
            if opened:
                opening.append(opened + " " * each.space_after)
        touches = not each.space_after
    if words and opening:
        closing.append(_Stretch(" " * words[-1].space_after + "".join(opening).rstrip(), "", 0))
    _close(words, closing)
    return words


def _close(words: Sequence[_Stretch], marks: Sequence[_Stretch]) -> None:
    """Puts marks behind the last word."""
    if marks:
        words[-1].text += "".join(each.text for each in marks)
        words[-1].spoken += "".join(each.spoken for each in marks)


def _divided(marks: str) -> tuple[str, str]:
    """Returns marks up to the first that opens something, and the rest."""
    first = next((index for index, mark in enumerate(marks) if mark in OPENERS), len(marks))
    return marks[:first], marks[first:]


def _tokens(text: str, language: str | None) -> Iterator[int]:
    """Yields the index after each token of the text."""
    base_language = (language or "").split("-")[0].lower()
    is_japanese = base_language == "ja" or (base_language != "zh" and _KANA.search(text) is not None)
    for match in _TOKEN.finditer(text):
        if match["unspaced"]:
            at = match.start()
            for word in _unspaced_words(match.group(), is_japanese=is_japanese):
                at += len(word)
                yield at
        else:
            yield match.end()


def _unspaced_words(run: str, *, is_japanese: bool) -> list[str]:
    if is_japanese:
        return [match.group() for match in _JAPANESE_PHRASE.finditer(run)]
    if _HAN.search(run):
        return list(_chinese_segmenter()(run))
    return [match.group() for match in CLUSTER.finditer(run)]


@cache
def _chinese_segmenter() -> Segmenter:
    import rjieba

    segmenter: Segmenter = rjieba.cut
    return segmenter
