"""When each word is spoken: from an alignment, or estimated from a segment's sound or from its text alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import regex
from numpy.typing import NDArray

from audio.vad import DIGITAL_SILENCE_DBFS, FRAME_S, HOP_S, measure_levels
from audio.waveform import Waveform
from speech.text import duration_units
from speech.text.words import Word

Span = tuple[float, float]  # start and end, in seconds

# Constants below are fitted to 48 utterances of four flite voices, aligned by PocketSphinx.
# Every word takes a little time besides that of its letters: "a" is not a fifth of "early".
WORD_UNITS = 1.0
# The last word before a mark is drawn out (phrase-final lengthening).
FINAL_LENGTHENING = 1.5
SENTENCE_PAUSE_UNITS, CLAUSE_PAUSE_UNITS = 6.0, 3.0  # where only the text is known
_ENDS_SENTENCE = regex.compile(r"[\p{Sentence_Terminal}…]\W*$")
_ENDS_CLAUSE = regex.compile(r"[,;:–—،؛、，；：]\W*$|\W-$")

# What is quieter than speech: a little above the recording's noise, and so much below its loudest 0.3 s.
FLOOR_PERCENTILE, ABOVE_FLOOR_DB = 10, 6.0
WEAKEST_SPEECH_DB, LOUDEST_PAUSE_DB = 30.0, 15.0

# Of the search for borders between words.
PAUSE_FRAMES = 8  # what is quiet for so long takes none of the words' estimated time
BAND_FRAMES = 100  # a border is at most so far from where weights alone put it
DURATION_SPREAD = 0.3  # of the logarithm of a word's duration, less that of its estimate
LEVEL_COST, LEVEL_RANGE_DB = 0.75, 30.0  # of a border where it is loudest
PAUSE_GAIN, PAUSE_GAIN_AT_MARK = 8.0, 20.0  # of a border in a pause of
LONG_PAUSE_S = 0.3  # and more; less in a shorter one
SHORTEST_S = 0.01  # word where an alignment has none


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

    boundaries: (index in ``SpokenText.text``, time in seconds) of borders between characters, at least two,
    neither value less than the one before, the last time above the first. Times between them are
    interpolated. A word without time gets at most 10 ms of its neighbours', so that it is not empty.
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

    samples: float32 [samples], at least one; the words, and nothing else, are spoken in them. Silence before
    the first word and after the last one is in no word, and neither are pauses. Borders between words are
    where durations by weight and dips of the sound's level agree best (dynamic programming), at most a second
    of speech from where weights alone put them.

    The times are in order, and none is empty or beyond the samples. Where nothing is to be heard, or there
    are more words than frames of 10 ms, they are those of ``times_by_weight``. Takes linear time.
    """
    waveform = Waveform(samples, sample_rate_hz)
    level_dbfs, loud_dbfs = measure_levels(waveform)
    active = np.flatnonzero(_is_audible(level_dbfs, loud_dbfs))
    if len(active) == 0 or not words:
        return times_by_weight(words, 0.0, waveform.duration_s)

    def time_s(frame: int) -> float:
        """Frames stand for the 10 ms around their middles; the first and the last reach to the ends."""
        if frame in (0, len(level_dbfs)):
            return waveform.duration_s if frame else 0.0
        return min(frame * HOP_S + (FRAME_S - HOP_S) / 2, waveform.duration_s)

    speech = _Speech.of(active, np.clip((level_dbfs - loud_dbfs) / LEVEL_RANGE_DB + 1, 0, 1))
    borders = _best_borders(words, speech)
    if borders is None:
        return times_by_weight(words, time_s(int(active[0])), time_s(int(active[-1]) + 1))
    around = [speech.around(border) for border in borders]
    return [(time_s(start), time_s(end)) for (_, start), (end, _) in pairwise(around)]


def _is_audible(level_dbfs: NDArray[np.float32], loud_dbfs: float) -> NDArray[np.bool_]:
    """True for frames with speech. Unlike ``audio.vad``, takes for granted that there is some."""
    above_floor_dbfs = np.percentile(level_dbfs, FLOOR_PERCENTILE) + ABOVE_FLOOR_DB
    threshold_dbfs = np.clip(above_floor_dbfs, loud_dbfs - WEAKEST_SPEECH_DB, loud_dbfs - LOUDEST_PAUSE_DB)
    return (level_dbfs >= threshold_dbfs) & (level_dbfs > DIGITAL_SILENCE_DBFS)


@dataclass(frozen=True)
class _Speech:
    """The frames of a segment in which somebody speaks, without its pauses, and the borders around them."""

    frames: NDArray[np.int64]  # [count] indexes of the segment's
    loudness: NDArray[np.float32]  # [count + 1] of the borders: 0 silent, 1 loud
    pause_s: NDArray[np.float32]  # [count + 1] of the pauses that lie at the borders

    @staticmethod
    def of(active: NDArray[np.int64], loudness: NDArray[np.float32]) -> _Speech:
        """active: the indexes of audible frames, at least one. loudness: [frames] of the segment, 0 to 1."""
        frames = np.arange(active[0], active[-1] + 1)
        last_active = active[np.searchsorted(active, frames, "right") - 1]
        next_active = active[np.searchsorted(active, frames)]
        frames = frames[next_active - last_active <= PAUSE_FRAMES]
        inner_loudness = np.minimum(loudness[frames[:-1]], loudness[frames[1:]])
        inner_pause_s = HOP_S * (np.diff(frames) - 1)
        return _Speech(
            frames,
            np.pad(inner_loudness, 1).astype(np.float32),
            np.pad(inner_pause_s, 1).astype(np.float32),
        )

    def around(self, border: int) -> tuple[int, int]:
        """Returns the frame at which the speech before a border ends, and the one at which it goes on."""
        end = self.frames[border - 1] + 1 if border else self.frames[0]
        start = self.frames[border] if border < len(self.frames) else end
        return int(end), int(start)


def _best_borders(words: Sequence[Word], speech: _Speech) -> list[int] | None:
    """Returns the borders around the words; None where there are too many words for the frames."""
    count = len(speech.frames)
    if count < len(words):
        return None
    weights = np.array(_weights(words))
    expected = count * weights / weights.sum()  # frames of each word
    targets = np.cumsum(expected)
    logarithms = np.log(np.arange(count + 1) + 2)
    pause = np.minimum(speech.pause_s / LONG_PAUSE_S, 1)
    borders, costs = np.zeros(1, np.int64), np.zeros(1)
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for index, word in enumerate(words):
        highest = count - (len(words) - 1 - index)  # each word after this one has a frame
        lowest = max(index + 1, round(targets[index]) - BAND_FRAMES)
        lowest = min(lowest, highest) if index + 1 < len(words) else count
        following = np.arange(lowest, max(min(round(targets[index]) + BAND_FRAMES, highest), lowest) + 1)
        frames = following[:, None] - borders
        deviation = (logarithms - np.log(expected[index] + 2)) / DURATION_SPREAD
        by_frames = np.square(deviation) / 2
        by_frames[0] = np.inf
        total = costs + by_frames[np.maximum(frames, 0)]
        best = total.argmin(axis=1)
        gain = PAUSE_GAIN_AT_MARK if _pause_units(word) else PAUSE_GAIN
        at_border = LEVEL_COST * speech.loudness[following] - gain * pause[following]
        costs = total[np.arange(len(following)), best] + at_border
        steps.append((following, best))
        borders = following
    if not np.isfinite(costs).any():
        return None
    at, found = int(costs.argmin()), []
    for following, best in reversed(steps):
        found.append(int(following[at]))
        at = int(best[at])
    return [0, *reversed(found)]


def _weights(words: Sequence[Word]) -> list[float]:
    """Returns the words' durations in units of ``speech.text.duration``."""
    weights = []
    for word in words:
        units = zip(word.spoken, duration_units(word.spoken), strict=True)
        weight = WORD_UNITS + sum(each for char, each in units if char.isalnum())
        weights.append(weight * (FINAL_LENGTHENING if _pause_units(word) else 1.0))
    return weights


def _pause_units(word: Word) -> float:
    if _ENDS_SENTENCE.search(word.spoken):
        return SENTENCE_PAUSE_UNITS
    return CLAUSE_PAUSE_UNITS if _ENDS_CLAUSE.search(word.spoken) else 0.0


def _in_order(
    starts_s: NDArray[np.float64], ends_s: NDArray[np.float64], first_s: float, last_s: float
) -> list[Span]:
    """Returns the times, moved as little as is needed so that none is empty and none overlaps the next."""
    least_s = min(SHORTEST_S, (last_s - first_s) / (2 * max(len(starts_s), 1)))
    # Nobody may start before those before it have had their least time.
    offsets_s = least_s * np.arange(len(starts_s))
    earliest_s = np.maximum.accumulate(np.maximum(starts_s, first_s) - offsets_s) + offsets_s
    latest_s = last_s - offsets_s[::-1] - least_s
    starts_s = np.minimum(earliest_s, latest_s)
    following_s = np.append(starts_s[1:], last_s)
    ends_s = np.clip(ends_s, starts_s + least_s, following_s)
    return [(float(start), float(end)) for start, end in zip(starts_s, ends_s, strict=True)]
