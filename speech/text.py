"""A long text as chunks that the model can speak one by one, with the pauses between them."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from speech.boundaries import Boundary, rank_boundaries
from speech.normalize import clean_text, has_speakable
from speech.pace import spoken_letters

# About 19 s at an ordinary pace: half of upstream's 40 s, so that a slow reading fits as well.
DEFAULT_MAX_CHARS = 280

# Readers leave about half a second between sentences and nearly twice that between paragraphs.
# The model ends what it says with some of that silence; this is the rest.
SENTENCE_PAUSE_S = 0.2
PARAGRAPH_PAUSE_S = 0.5
CLAUSE_PAUSE_S = 0.1
_PAUSES_S = {Boundary.SENTENCE: SENTENCE_PAUSE_S, Boundary.CLAUSE: CLAUSE_PAUSE_S}

# The longest stretch without a letter or digit that is kept: rows of dots, stars, emoji, marks.
MAX_MUTE_CHARS = 20
# A mute stretch, a digit and another mute stretch must fit, so that each chunk has a sound; and
# numbers up to trillions, so that they stay whole.
MIN_MAX_CHARS = 100

# Texts of a word or two come out as gibberish, so such a sentence is kept with its neighbour.
_SHORT_SENTENCE_LETTERS = 20
# Wrapped prose has lines of 40 letters and more; what is shorter was ended on purpose.
_WRAPPED_LINE_LETTERS = 40

_BULLET = re.compile(r"(?:[-*•‣◦▪–—]|#{1,6})\s+")
_LIST_ITEM = re.compile(_BULLET.pattern + r"|(?:\d{1,3}[.)]|[A-Za-z]\))\s")
_ENDS_WITH_MARK = re.compile(r"""[.!?…,;:–—\-。！？，、；：．،؛؟।॥\u17d4]["'”’»)\]}」』）】]*$""")
_MUTE_STRETCH = re.compile(rf"[\W_]{{{MAX_MUTE_CHARS + 1},}}")


@dataclass(frozen=True)
class Chunk:
    """A piece to speak in one go.

    text: the original wording; its only white space is single spaces.
    pause_after_s: silence to put after it; 0 after the last.
    """

    text: str
    pause_after_s: float


def split_text(text: str, max_chars: int = DEFAULT_MAX_CHARS) -> list[Chunk]:
    """Cut ``text`` into chunks at the best places, none longer than ``max_chars``.

    Length is counted in spoken letters (``speech.pace``): a Latin letter is one character, a digit
    seven, a Han character three. So a chunk may hold fewer characters than ``max_chars``, and
    each takes about the same time. Sentences of a paragraph are packed together; what is too
    long is cut at clause marks, else at spaces, else between characters of a script without spaces,
    and only an unbroken run that is too long by itself is cut inside a word, number or address.
    The parts are kept near equal, so that no tail of a word or two is left over.

    Every letter and digit of ``clean_text(text)`` is in exactly one chunk, in order. Changed are:

    - A line without a letter or digit is dropped; like an empty line it ends a paragraph.
    - Bullets and heading marks ("- ", "* ", "# ") at the start of a line are dropped.
    - A heading or list item gets a full stop if it has no mark at its end: the line after it
      starts with a bullet or number, or it is shorter than wrapped lines are and the line after it
      does not start with a small letter. Other line ends are spaces.
    - Of more than 20 characters in a row that are no letters or digits, 20 are kept.

    Text with nothing to say gives no chunks. Raises ValueError when max_chars is below 100.
    """
    if max_chars < MIN_MAX_CHARS:
        raise ValueError(f"max_chars must be at least {MIN_MAX_CHARS}, not {max_chars}")
    pieces = [
        (piece, pause_s)
        for paragraph in _split_paragraphs(text)
        for piece, pause_s in _split_paragraph(paragraph, max_chars)
    ]
    last = len(pieces) - 1
    return [Chunk(piece, pause_s if index < last else 0.0) for index, (piece, pause_s) in enumerate(pieces)]


def _split_paragraphs(text: str) -> Iterator[str]:
    lines = clean_text(text).replace("\u2029", "\n\n").splitlines()
    collapsed = (" ".join(line.split()) for line in lines)
    for speakable, group in groupby(collapsed, key=has_speakable):
        if speakable:
            yield _MUTE_STRETCH.sub(_shorten, _join_lines(list(group))).rstrip()


def _join_lines(lines: list[str]) -> str:
    joined = []
    for line, following in pairwise([*lines, ""]):
        spoken = _BULLET.sub("", line, count=1) if _BULLET.match(line) else line
        if following and _ends_on_purpose(line, following) and not _ENDS_WITH_MARK.search(spoken):
            spoken += "."
        joined.append(spoken)
    return " ".join(joined)


def _ends_on_purpose(line: str, following: str) -> bool:
    if line.startswith("#") or _LIST_ITEM.match(following):
        return True
    return sum(spoken_letters(line)) < _WRAPPED_LINE_LETTERS and not following[0].islower()


def _shorten(mute: re.Match[str]) -> str:
    kept = mute.group()[:MAX_MUTE_CHARS]
    return kept[:-1].rstrip() + " " if " " in mute.group() else kept  # never weld two words together


def _split_paragraph(paragraph: str, max_letters: int) -> Iterator[tuple[str, float]]:
    """Each piece with the pause after it, in seconds."""
    ranks = rank_boundaries(paragraph)
    letters_before = [0, *accumulate(spoken_letters(paragraph))]
    speakable = [index for index, char in enumerate(paragraph) if char.isalnum()]
    start = 0
    while (remaining := letters_before[-1] - letters_before[start]) > max_letters:
        # Both sides of a cut must have something to say.
        first = speakable[bisect_left(speakable, start)] + 1
        last = min(speakable[-1], bisect_right(letters_before, letters_before[start] + max_letters) - 1)
        sizes = {cut: letters_before[cut] - letters_before[start] for cut in range(first, last + 1)}
        cut = _choose_cut(sizes, ranks, remaining, max_letters)
        yield paragraph[start:cut], _PAUSES_S.get(ranks[cut], 0.0)
        start = cut + (paragraph[cut] == " ")
    yield paragraph[start:], PARAGRAPH_PAUSE_S


def _choose_cut(sizes: Mapping[int, int], ranks: Sequence[Boundary], remaining: int, max_letters: int) -> int:
    """The best position to end a piece at: of the best rank to be had, the nearest to equal parts.

    sizes: the spoken letters before each position that may be chosen.
    """
    ideal = remaining / math.ceil(remaining / max_letters)
    attempts = (  # the worst rank to take, the fewest letters to leave on either side
        (Boundary.SENTENCE, ideal / 2),
        (Boundary.SENTENCE, _SHORT_SENTENCE_LETTERS),
        (Boundary.CLAUSE, ideal / 2),
        (Boundary.WORD, ideal / 2),
        (Boundary.LETTER, ideal / 2),
        (Boundary.WORD, 0),
        (Boundary.BOUND, 0),
        (Boundary.GRAPHEME, 0),
        (Boundary.CODEPOINT, 0),
    )
    candidates = (
        [cut for cut, size in sizes.items() if ranks[cut] <= worst and least <= size <= remaining - least]
        for worst, least in attempts
    )
    return min(next(filter(None, candidates)), key=lambda cut: abs(sizes[cut] - ideal))
