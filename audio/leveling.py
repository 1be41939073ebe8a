"""Brings stretches of speech to one loudness, at once or as they come. numpy alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.loudness import PEAK_TARGET_DBFS, apply_gain, measure_loudness_lufs, measure_peak_dbfs
from audio.waveform import Waveform

Samples = NDArray[np.float32]

# More would raise a whisper, or a stretch of mere noise, to the level of speech.
LARGEST_CHANGE_DB = 12.0
# How far all stretches are lowered for one whose peaks leave no room; beyond that it stays quieter.
LARGEST_LOWERING_LU = 6.0

# Of audio in pieces, whose gain follows what is known so far.
_BLOCK_S = 0.01
_HELD_BLOCKS = 2  # of a piece that are returned with the next one, so that a peak in that one is seen before
_CORRECTION_DB = 0.06  # a block at most: 6 dB/s, slower than speech itself rises and falls
_LARGEST_COMPENSATION_DB = 1.0  # of the rest of a stretch, for what was too loud or too soft of it
_GENTLE_FALL_DB = 0.3  # a block at most towards a peak that is known early enough
_STEEP_FALL_DB = LARGEST_CHANGE_DB / _HELD_BLOCKS  # a block, else: enough for any peak

_NO_SAMPLES: Samples = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Level:
    """The level of a stretch of speech; None for one that is silent."""

    loudness_lufs: float | None
    headroom_db: float  # the gain up to which its peak stays at or below -1 dBFS; 0 where it is above

    @classmethod
    def of(cls, waveform: Waveform) -> Level:
        """Measures a stretch of any length, see ``measure_loudness_lufs``."""
        peak_dbfs = measure_peak_dbfs(waveform)
        headroom_db = math.inf if peak_dbfs is None else max(0.0, PEAK_TARGET_DBFS - peak_dbfs)
        return cls(measure_loudness_lufs(waveform), headroom_db)

    def gain_to(self, target_lufs: float) -> float:
        """Returns the gain in dB that brings it as near to a loudness as its peak allows; 0 for silence.

        At most ``LARGEST_CHANGE_DB``, and none that raises the peak above -1 dBFS.
        """
        if self.loudness_lufs is None:
            return 0.0
        wanted_db = target_lufs - self.loudness_lufs
        return max(-LARGEST_CHANGE_DB, min(wanted_db, LARGEST_CHANGE_DB, self.headroom_db))


def common_loudness_lufs(levels: Iterable[Level]) -> float | None:
    """Returns the loudness that stretches are brought to: their median; None where all are silent.

    It is lower, by at most ``LARGEST_LOWERING_LU``, where the peaks of a stretch do not let that become as
    loud.
    """
    audible = [(level.loudness_lufs, level) for level in levels if level.loudness_lufs is not None]
    if not audible:
        return None
    median_lufs = float(np.median([loudness_lufs for loudness_lufs, _ in audible]))
    reached = [loudness_lufs + level.gain_to(median_lufs) for loudness_lufs, level in audible]
    return min([median_lufs, *(each for each in reached if each >= median_lufs - LARGEST_LOWERING_LU)])


class StreamLeveler:
    """Brings stretches of speech, each in one piece or several, to the loudness of those before.

    The first one that is not silent stays as it is. A stretch that comes whole has one gain. The gain of one
    in pieces is that which its first piece needs; it is corrected by at most 6 dB/s as more is known, and
    falls before a peak that it would raise above -1 dBFS. For one audio.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._block = round(_BLOCK_S * sample_rate_hz)
        self._energy = self._weight_s = 0.0  # of what was returned: power times seconds, and seconds
        self._begin()

    def _begin(self) -> None:
        """Begins a stretch."""
        self._read, self._returned = _NO_SAMPLES, [_NO_SAMPLES]
        self._done = 0  # samples that were returned
        self._gain_db: float | None = None  # of the last sample that was returned; None before any sound

    def add(self, samples: Samples, *, is_last: bool) -> tuple[Samples, float | None]:
        """Returns what of the stretch is ready, and behind its end by how many LU it is too loud.

        is_last: whether the stretch ends here; if not, 20 to 30 ms are held back of every one but the first.
        The second is None before the end, for silence, and without anything to compare with.
        """
        self._read = np.concatenate([self._read, samples])
        target_lufs = self._target_lufs()
        if target_lufs is None:
            ready = self._read[self._done :]
        elif is_last and self._done == 0:
            gain_db = Level.of(self._waveform(self._read)).gain_to(target_lufs)
            ready = apply_gain(self._read, _factor(gain_db))
        else:
            ready = self._follow(target_lufs, is_last=is_last)
        self._done += len(ready)
        self._returned.append(ready)
        return ready, self._end(target_lufs) if is_last else None

    def _target_lufs(self) -> float | None:
        """Returns the loudness of all stretches that were returned, weighted by their lengths."""
        return 10 * math.log10(self._energy / self._weight_s) if self._weight_s else None

    def _end(self, target_lufs: float | None) -> float | None:
        """Notes the loudness of a stretch that was returned; returns its distance from the target."""
        whole = self._waveform(np.concatenate(self._returned))
        loudness_lufs = measure_loudness_lufs(whole)
        self._begin()
        if loudness_lufs is None:
            return None
        self._energy += 10 ** (loudness_lufs / 10) * whole.duration_s
        self._weight_s += whole.duration_s
        return None if target_lufs is None else loudness_lufs - target_lufs

    def _follow(self, target_lufs: float, *, is_last: bool) -> Samples:
        """Returns what is ready of a stretch in pieces, with a gain that changes slowly."""
        end = len(self._read)
        if not is_last:
            end = max(end // self._block - _HELD_BLOCKS, 0) * self._block
        if end <= self._done:
            return _NO_SAMPLES
        rest = self._read[self._done :]
        wanted_db = self._wanted_db(target_lufs, rest)
        if wanted_db is None:
            return rest[: end - self._done]
        edges_db = _gain_curve(self._gain_db, wanted_db, _headrooms_db(rest, self._block))
        places = np.arange(end - self._done + 1)
        gains_db = np.interp(places, self._block * np.arange(len(edges_db)), edges_db)
        self._gain_db = float(gains_db[-1])
        return np.asarray(rest[: end - self._done] * 10 ** (gains_db[:-1] / 20), np.float32)

    def _wanted_db(self, target_lufs: float, rest: Samples) -> float | None:
        """Returns the gain with which the stretch so far comes nearest to the target; None for silence.

        rest: what was not yet returned of it.
        """
        loudness_lufs = measure_loudness_lufs(self._waveform(self._read))
        if loudness_lufs is None:
            return None
        wanted_db = _clamped(target_lufs - loudness_lufs, LARGEST_CHANGE_DB)
        returned_lufs = measure_loudness_lufs(self._waveform(np.concatenate(self._returned)))
        rest_lufs = measure_loudness_lufs(self._waveform(rest))
        if returned_lufs is None or rest_lufs is None:
            return wanted_db
        target, returned, left = (10 ** (each / 10) for each in (target_lufs, returned_lufs, rest_lufs))
        needed = target * len(self._read) - returned * self._done
        exact_db = 10 * math.log10(max(needed, 1e-9 * target) / (left * len(rest)))
        compensation_db = _clamped(exact_db - wanted_db, _LARGEST_COMPENSATION_DB)
        return _clamped(wanted_db + compensation_db, LARGEST_CHANGE_DB)

    def _waveform(self, samples: Samples) -> Waveform:
        return Waveform(samples, self._sample_rate_hz)


def _gain_curve(start_db: float | None, wanted_db: float, headrooms_db: Sequence[float]) -> list[float]:
    """Returns gains in dB at the edges of blocks, one more than there are headrooms.

    start_db: at the first edge, where audio went before; None: free.
    """
    # The most at each edge with which the block behind it is not raised too far and later ones need no steep
    # fall.
    most_db = [*headrooms_db, math.inf]
    for at in range(len(headrooms_db) - 1, -1, -1):
        most_db[at] = min(most_db[at], most_db[at + 1] + _GENTLE_FALL_DB)
    # The block before an edge counts as well.
    bounds_db = [min(pair) for pair in zip([math.inf, *headrooms_db], most_db, strict=True)]
    gains_db = [min(wanted_db, bounds_db[0]) if start_db is None else start_db]
    for bound_db in bounds_db[1:]:
        last_db = gains_db[-1]
        slow_db = last_db + _clamped(wanted_db - last_db, _CORRECTION_DB)
        gains_db.append(max(min(slow_db, bound_db), last_db - _STEEP_FALL_DB))
    return gains_db


def _headrooms_db(samples: Samples, block: int) -> list[float]:
    """Returns ``Level.headroom_db`` of each block; the last one may be shorter."""
    padded = np.pad(np.abs(samples), (0, -len(samples) % block))
    peaks = padded.reshape(-1, block).max(axis=1).astype(np.float64)
    with np.errstate(divide="ignore"):
        headrooms_db: list[float] = np.maximum(PEAK_TARGET_DBFS - 20 * np.log10(peaks), 0.0).tolist()
    return headrooms_db


def _clamped(value_db: float, most_db: float) -> float:
    return max(-most_db, min(value_db, most_db))


def _factor(gain_db: float) -> float:
    return 1.0 if gain_db == 0 else float(10 ** (gain_db / 20))
