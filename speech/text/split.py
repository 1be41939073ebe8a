"""Splitting: a text as chunks that the model can speak one by one, with the pauses between them."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from cancel import CancelToken
from speech.text.boundaries import Boundary, rank_boundaries
from speech.text.duration import UNITS_PER_S, duration_units, max_units
from speech.text.paragraphs import Paragraph, paragraphs

# Half of upstream's 40 s and a little less, so that a slow reading fits as well: 280 letters of English.
DEFAULT_MAX_CHUNK_S = 280 / UNITS_PER_S

# Readers leave about half a second between sentences and nearly twice that between paragraphs.
# The model ends what it says with some of that silence; this is the rest.
SENTENCE_PAUSE_S = 0.2
PARAGRAPH_PAUSE_S = 0.5
CLAUSE_PAUSE_S = 0.1
_PAUSES_S = {Boundary.SENTENCE: SENTENCE_PAUSE_S, Boundary.CLAUSE: CLAUSE_PAUSE_S}

# 100 letters of English, 89 of Polish. A mute stretch, a digit and another mute stretch must fit, so that
# each chunk has a sound; and numbers up to hundreds of billions, so that they stay whole.
MIN_MAX_CHUNK_S = 100 / UNITS_PER_S

# Texts of a word or two come out as gibberish, so such a sentence is kept with its neighbour.
_SHORT_SENTENCE_UNITS = 20


@dataclass(frozen=True)
class Chunk:
    """A stretch of text that the model speaks in one go."""

    text: str  # the original wording; its only white space is single spaces
    pause_after_s: float  # silence to put after it; 0 after the last chunk


def split_text(
    text: str,
    max_chunk_s: float = DEFAULT_MAX_CHUNK_S,
    *,
    language: str | None = None,
    starts_short: bool = False,
    cancel: CancelToken | None = None,
) -> list[Chunk]:
    """Returns the text as chunks, cut at the best places, none longer than ``max_chunk_s``.

    max_chunk_s: the longest duration of a chunk at an ordinary pace, estimated by ``speech.text.duration``.
    280 letters of English, 253 of German, 62 Han characters or 40 digits take the default.

    language: the code of the text's language, whose rules tell where sentences end, and whose pace tells how
    long they take; None: it is not known.

    starts_short: the first chunk takes at most 6.7 s, the second 13.3 s: who listens while the text is spoken
    waits less for the first.

    Sentences of a paragraph are packed together; what is too long is cut at
    clause marks, else at spaces, else between characters of a script without spaces, and only an unbroken
    run that is too long by itself is cut inside a word, number or address. The chunks of a paragraph are
    kept near equal, so that no tail of a word or two is left over.

    Every letter and digit of ``clean_text(text)`` is in exactly one chunk, in order. Changed are:

    - A line without a letter or digit is dropped; like an empty line it ends a paragraph.
    - Bullets, heading marks and the dashes of a dialogue at the start of a line are dropped.
    - A heading, an item of a list and a speaker's line get a full stop if they have no mark at their end, and
      a line of verse a comma or a full stop. Other line ends are spaces (``speech.text.paragraphs``).
    - Of more than 20 characters in a row that are no letters or digits, 20 are kept.

    Text with nothing to say gives no chunks. Takes time linear in the length of the text; ``cancel`` is
    checked before each paragraph and each chunk.

    Raises ValueError if ``max_chunk_s`` is below 6.67, and ``errors.Cancelled`` once ``cancel`` is cancelled.
    """
    if not max_chunk_s >= MIN_MAX_CHUNK_S:
        raise ValueError(f"max_chunk_s must be at least {MIN_MAX_CHUNK_S:.2f}, not {max_chunk_s}")
    cancel = cancel or CancelToken()
    chunks: list[Chunk] = []

    longest, shortest = max_units(max_chunk_s, language), max_units(MIN_MAX_CHUNK_S, language)

    def limit() -> int:
        return min(longest, shortest * (len(chunks) + 1)) if starts_short else longest

    for paragraph in paragraphs(text):
        cancel.raise_if_cancelled()
        for chunk in _split_paragraph(paragraph, limit, language):
            cancel.raise_if_cancelled()
            chunks.append(chunk)
    if chunks:
        chunks[-1] = Chunk(chunks[-1].text, 0.0)
    return chunks


def _split_paragraph(paragraph: Paragraph, limit: Callable[[], int], language: str | None) -> Iterator[Chunk]:
    """Yields the chunks of a paragraph. limit: returns how many units the next one may have."""
    text = paragraph.text
    units_before = [0, *accumulate(duration_units(text))]
    start = 0
    if units_before[-1] > limit():
        ranks = rank_boundaries(text, language, paragraph.line_ends)
        speakable = [index for index, char in enumerate(text) if char.isalnum()]
        while units_before[-1] - units_before[start] > (most := limit()):
            # Both sides of a cut must have something to say.
            first = speakable[bisect_left(speakable, start)] + 1
            last = min(speakable[-1], bisect_right(units_before, units_before[start] + most) - 1)
            cut = _choose_cut(units_before, ranks, range(first, last + 1), start, most)
            yield Chunk(text[start:cut], _PAUSES_S.get(ranks[cut], 0.0))
            start = cut + (text[cut] == " ")
    yield Chunk(text[start:], PARAGRAPH_PAUSE_S)


def _choose_cut(
    units_before: Sequence[float], ranks: Sequence[Boundary], allowed: range, start: int, most: int
) -> int:
    """Returns the position to end the chunk at: of the best rank to be had, the nearest to equal chunks.

    units_before: the duration of the text before each position. allowed: the positions to choose from.
    start: where the chunk starts. most: how many units it may have.
    """
    done, total = units_before[start], units_before[-1]
    remaining = total - done
    ideal = remaining / math.ceil(remaining / most)
    attempts = (  # the worst rank to take, the fewest units to leave on either side
        (Boundary.SENTENCE, ideal / 2),
        (Boundary.SENTENCE, _SHORT_SENTENCE_UNITS),
        (Boundary.CLAUSE, ideal / 2),
        (Boundary.WORD, ideal / 2),
        (Boundary.UNSPACED, ideal / 2),
        (Boundary.WORD, 0),
        (Boundary.TIED, 0),
        (Boundary.INSIDE_WORD, 0),
        (Boundary.INSIDE_GRAPHEME, 0),
    )
    candidates = (
        [
            cut
            for cut in allowed
            if ranks[cut] <= worst and least <= units_before[cut] - done <= remaining - least
        ]
        for worst, least in attempts
    )
    return min(next(filter(None, candidates)), key=lambda cut: abs(units_before[cut] - done - ideal))
