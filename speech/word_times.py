"""When each word is spoken: from an alignment, or estimated from a segment's sound or from its text alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import regex
from numpy.typing import NDArray

from audio.vad import FRAME_S, HOP_S, is_active, measure_levels
from audio.waveform import Waveform
from speech.text import duration_units
from speech.text.words import Word

Span = tuple[float, float]  # start and end, in seconds

# Every word takes a little time besides that of its letters: "a" is not a fifth of "early".
WORD_UNITS = 1.5
# The last word before a mark is drawn out (phrase-final lengthening).
FINAL_LENGTHENING = 1.25
SENTENCE_PAUSE_UNITS, CLAUSE_PAUSE_UNITS = 6.0, 3.0  # where only the text is known
_ENDS_SENTENCE = regex.compile(r"[\p{Sentence_Terminal}…]\W*$")
_ENDS_CLAUSE = regex.compile(r"[,;:–—،؛、，；：]\W*$|\W-$")

# What is quiet for less is a closure within a word: those of plosives take up to 150 ms.
PAUSE_FRAMES = 12
# Of the search for borders between words. A border is at most so far from where weights alone put it.
BAND_FRAMES = 100
DURATION_SPREAD = 0.45  # of the logarithm of a word's duration, less that of its estimate
LEVEL_COST, LEVEL_RANGE_DB = 1.5, 30.0  # of a border where it is loudest
PAUSE_GAIN, PAUSE_GAIN_AT_MARK = 4.0, 8.0  # of a border in a pause


@dataclass(frozen=True)
class WordTime:
    """A written word, and when it is spoken."""

    text: str  # with its marks, see ``speech.text.words.Word``
    start_s: float
    end_s: float
    segment: int  # index of its segment
    space_after: bool = True  # whether white space follows in the written text


def word_times(
    words: Sequence[Word], spans: Sequence[Span], segment: int, offset_s: float = 0.0
) -> list[WordTime]:
    """Returns a segment's words with their times. offset_s: where the segment starts."""
    return [
        WordTime(word.text, offset_s + start_s, offset_s + end_s, segment, word.space_after)
        for word, (start_s, end_s) in zip(words, spans, strict=True)
    ]


def times_from_boundaries(words: Sequence[Word], boundaries: Sequence[tuple[int, float]]) -> list[Span]:
    """Returns the words' times by an alignment of the spoken text.

    boundaries: (index in ``SpokenText.text``, time in seconds) at the borders between aligned characters,
    at least two, neither value ever less than the one before, the last time above the first. Times between are
    interpolated. A word that the alignment gives no time is made as long as it needs to be seen, at the cost of
    its neighbours.
    """
    indexes, times_s = (np.array(column, np.float64) for column in zip(*boundaries, strict=True))
    starts_s = np.interp([word.spoken_start for word in words], indexes, times_s)
    ends_s = np.interp([word.spoken_end for word in words], indexes, times_s)
    return _in_order(starts_s, ends_s, float(times_s[0]), float(times_s[-1]))


def times_by_weight(words: Sequence[Word], start_s: float, end_s: float) -> list[Span]:
    """Returns the words' times by their letters and marks alone, as in an even reading of the text."""
    borders, at = [], 0.0
    for word, weight in zip(words, _weights(words), strict=True):
        borders.append((at, at + weight))
        at += weight + _pause_units(word)
    if not borders:
        return []
    scale = (end_s - start_s) / borders[-1][1]
    starts_s, ends_s = (start_s + scale * np.array(column) for column in zip(*borders, strict=True))
    return _in_order(starts_s, ends_s, start_s, end_s)


def estimate_word_times(
    words: Sequence[Word], samples: NDArray[np.float32], sample_rate_hz: int
) -> list[Span]:
    """Returns when the words are spoken in a segment's sound, in seconds from its start.

    samples: float32 [samples], at least one; the words and nothing else are spoken in them. Silence before the
    first word and after the last one is left out, and so are pauses between words. Borders between words are
    where their durations by weight and the dips of the sound's level agree best (dynamic programming), at most a
    second of speech from where weights alone put them.

    The times are in order, none is empty or beyond the samples. Where nothing is to be heard, or words are
    more than frames of 10 ms, they are those of ``times_by_weight``. Takes linear time.
    """
    waveform = Waveform(samples, sample_rate_hz)
    level_dbfs, loud_dbfs = measure_levels(waveform)
    active = np.flatnonzero(is_active(level_dbfs, loud_dbfs))
    if len(active) == 0 or not words:
        return times_by_weight(words, 0.0, waveform.duration_s)
    first, last = int(active[0]), int(active[-1]) + 1
    speech = _Speech.of(active, np.clip((level_dbfs - loud_dbfs) / LEVEL_RANGE_DB + 1, 0, 1))
    borders = _best_borders(words, speech)

    def time_s(frame: int) -> float:
        """Frames stand for the 10 ms around their middles; the first and the last reach to the ends."""
        if frame in (0, len(level_dbfs)):
            return waveform.duration_s if frame else 0.0
        return min(frame * HOP_S + (FRAME_S - HOP_S) / 2, waveform.duration_s)

    if borders is None:
        return times_by_weight(words, time_s(first), time_s(last))
    frames = [speech.around(border) for border in borders]
    return [(time_s(start), time_s(end)) for (_, start), (end, _) in zip(frames, frames[1:], strict=False)]


@dataclass(frozen=True)
class _Speech:
    """The frames of a segment in which somebody speaks, without the pauses; closures are in it."""

    frames: NDArray[np.int64]  # [count] of the segment's
    loudness: NDArray[np.float32]  # [count + 1] of the borders around them: 0 silent, 1 loud
    pause_s: NDArray[np.float32]  # [count + 1] of the pauses at the borders

    @staticmethod
    def of(active: NDArray[np.int64], loudness: NDArray[np.float32]) -> _Speech:
        """active: the indexes of audible frames. loudness: [frames] of the segment, 0 to 1."""
        gaps = np.diff(active) - 1
        frames = np.delete(
            np.arange(active[0], active[-1] + 1),
            np.concatenate(
                [np.arange(0)]
                + [
                    np.arange(start, start + gap)
                    for start, gap in zip(active[:-1] + 1 - active[0], gaps, strict=True)
                    if gap >= PAUSE_FRAMES
                ]
            ),
        )
        beside = np.minimum(loudness[frames[:-1]], loudness[frames[1:]])
        pauses = np.diff(frames) - 1
        ends = np.zeros(1, np.float32)
        return _Speech(
            frames,
            np.concatenate([ends, beside, ends]),
            np.concatenate([ends, pauses * np.float32(HOP_S), ends]),
        )

    def around(self, border: int) -> tuple[int, int]:
        """Returns the frame after which the speech before a border ends, and the one where it goes on."""
        before = self.frames[border - 1] + 1 if border else self.frames[0]
        after = self.frames[border] if border < len(self.frames) else before
        return int(before), int(after)


def _best_borders(words: Sequence[Word], speech: _Speech) -> list[int] | None:
    """Returns the borders around the words, None where there are too many words."""
    count = len(speech.frames)
    weights = np.array(_weights(words))
    expected = count * weights / weights.sum()
    targets = np.cumsum(expected)
    lengths = np.arange(count + 1)
    loud = LEVEL_COST * speech.loudness
    is_pause = np.minimum(speech.pause_s / 0.3, 1)
    positions, costs = np.zeros(1, np.int64), np.zeros(1)
    ways: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for index, word in enumerate(words):
        remaining = len(words) - index - 1
        highest = count - remaining
        low = min(max(index + 1, round(targets[index]) - BAND_FRAMES), highest) if remaining else count
        high = max(min(round(targets[index]) + BAND_FRAMES, highest), low)
        following = np.arange(low, high + 1)
        length = following[:, None] - positions
        deviation = np.log((lengths + 2) / (expected[index] + 2)) / DURATION_SPREAD
        by_length = np.square(deviation) / 2
        by_length[0] = np.inf
        total = costs + np.where(length > 0, by_length[np.maximum(length, 0)], np.inf)
        best = total.argmin(axis=1)
        gain = PAUSE_GAIN_AT_MARK if _pause_units(word) else PAUSE_GAIN
        costs = total[np.arange(len(following)), best] + loud[following] - gain * is_pause[following]
        ways.append((following, best))
        positions = following
    if not np.isfinite(costs).any():
        return None
    at, borders = int(costs.argmin()), []
    for positions, best in reversed(ways):
        borders.append(int(positions[at]))
        at = int(best[at])
    return [0, *reversed(borders)]


def _weights(words: Sequence[Word]) -> list[float]:
    """Returns the words' durations in units of ``speech.text.duration``."""
    weights = []
    for word in words:
        letters = sum(
            units
            for char, units in zip(word.spoken, duration_units(word.spoken), strict=True)
            if char.isalnum()
        )
        weights.append((letters + WORD_UNITS) * (FINAL_LENGTHENING if _pause_units(word) else 1.0))
    return weights


def _pause_units(word: Word) -> float:
    if _ENDS_SENTENCE.search(word.spoken):
        return SENTENCE_PAUSE_UNITS
    return CLAUSE_PAUSE_UNITS if _ENDS_CLAUSE.search(word.spoken) else 0.0


def _in_order(
    starts_s: NDArray[np.float64], ends_s: NDArray[np.float64], first_s: float, last_s: float
) -> list[Span]:
    """Returns the times, moved as little as is needed so that none is empty and none overlaps the next."""
    least_s = min(0.01, (last_s - first_s) / (2 * max(len(starts_s), 1)))
    # Nobody may start before those before it have had their least time.
    offsets_s = least_s * np.arange(len(starts_s))
    earliest_s = np.maximum.accumulate(np.maximum(starts_s, first_s) - offsets_s) + offsets_s
    latest_s = last_s - offsets_s[::-1] - least_s
    starts_s = np.minimum(earliest_s, latest_s)
    following_s = np.append(starts_s[1:], last_s)
    ends_s = np.clip(ends_s, starts_s + least_s, following_s)
    return [(float(start), float(end)) for start, end in zip(starts_s, ends_s, strict=True)]
