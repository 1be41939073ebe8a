"""Measurement of levels and loudness, and the gain that brings audio to a target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform

NORMALIZATIONS = ("peak", "rms", "lufs")

PEAK_TARGET_DBFS = -1.0  # headroom for what a lossy codec or a converter adds between samples
RMS_TARGET_DBFS = -20.0  # within the -23 to -18 dB that ACX asks of audiobooks
LUFS_TARGET = -16.0  # what Apple asks of podcasts, with peaks up to -1 dBFS

# ITU-R BS.1770-4, annex 1: blocks of 0.4 s that overlap by 75 %, an absolute gate at -70 LUFS and one
# 10 LU below the loudness of the blocks above it.
_GATING_BLOCK_S = 0.4
_STEP = 0.25  # of a block
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = 10.0

_BLOCK_SAMPLES = 65_536  # measured at a time, in float64


def normalize(waveform: Waveform, mode: str | None) -> Waveform:
    """Returns the waveform with the gain of ``gain_for`` applied throughout."""
    gain = gain_for([waveform.samples], mode, waveform.sample_rate_hz)
    return waveform if gain == 1.0 else Waveform(apply_gain(waveform.samples, gain), waveform.sample_rate_hz)


def gain_for(
    chunks: Iterable[NDArray[np.float32]], mode: str | None, sample_rate_hz: int = MODEL_SAMPLE_RATE_HZ
) -> float:
    """Computes the one linear factor that normalizes audio given as consecutive chunks, each float32 [n].

    "peak" brings the highest sample to -1 dBFS, "rms" the mean power to -20 dBFS, "lufs" the integrated
    loudness to -16 LUFS. The last two stop where the peak reaches -1 dBFS, so that spiky audio ends up
    quieter than the target rather than clipped. None and silence give 1. Memory does not grow with the
    length of the audio, apart from ten numbers a second for "lufs".
    """
    if mode is None:
        return 1.0
    assert mode in NORMALIZATIONS, mode
    meter = _LoudnessMeter(sample_rate_hz) if mode == "lufs" else None
    peak, power, count = 0.0, 0.0, 0
    for block in _blocks(chunks):
        peak = max(peak, float(np.abs(block).max()))
        if mode == "rms":
            power += float(np.square(block, dtype=np.float64).sum())
            count += len(block)
        if meter is not None:
            meter.add(block)
    if peak == 0:
        return 1.0
    gain_db = PEAK_TARGET_DBFS - 20 * math.log10(peak)
    if mode == "rms":
        gain_db = min(gain_db, RMS_TARGET_DBFS - 10 * math.log10(power / count))
    elif meter is not None:
        loudness_lufs = meter.integrated_lufs()
        if loudness_lufs is None:
            return 1.0
        gain_db = min(gain_db, LUFS_TARGET - loudness_lufs)
    return float(10 ** (gain_db / 20))


def apply_gain(samples: NDArray[np.float32], gain: float) -> NDArray[np.float32]:
    """Returns float32 [n] times a factor from ``gain_for``; chunk by chunk the same as at once."""
    return samples if gain == 1.0 else samples * np.float32(gain)


def measure_peak_dbfs(waveform: Waveform) -> float | None:
    """Returns the highest absolute sample, 0 dBFS being 1.0; None for digital silence or no samples."""
    peak = float(np.abs(waveform.samples).max(initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else None


def measure_loudness_lufs(waveform: Waveform) -> float | None:
    """Computes the integrated loudness by ITU-R BS.1770-4; None below its absolute gate of -70 LUFS.

    Audio shorter than one gating block of 0.4 s is repeated to fill it.
    """
    meter = _LoudnessMeter(waveform.sample_rate_hz)
    for block in _blocks([waveform.samples]):
        meter.add(block)
    return meter.integrated_lufs()


class _LoudnessMeter:
    """Measures the integrated loudness of consecutive blocks of mono samples.

    Agrees with ``pyloudnorm.Meter``, which needs the whole audio at once, several times over in float64.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        # Both bring scipy, a second or two: only jobs that measure loudness wait for it.
        from pyloudnorm.iirfilter import IIRfilter
        from scipy.signal import lfilter  # type: ignore[import-untyped]

        self._lfilter = lfilter
        self._rate_hz = sample_rate_hz
        # K-weighting, as pyloudnorm.Meter defines it: gain in dB, Q, frequency in Hz.
        shelf = IIRfilter(4.0, 1 / math.sqrt(2), 1_500.0, sample_rate_hz, "high_shelf")
        high_pass = IIRfilter(0.0, 0.5, 38.0, sample_rate_hz, "high_pass")
        self._filters = [(filter.b, filter.a) for filter in (shelf, high_pass)]
        self._filter_states = [np.zeros(2) for _ in self._filters]
        self._squares = np.zeros(0)  # of weighted samples, from the start of the next gating block
        self._powers: list[float] = []  # mean square of each gating block
        self._count = 0  # samples so far
        self._short = np.zeros(0, np.float32)  # all samples, while they are fewer than a gating block has

    def add(self, samples: NDArray[np.float32]) -> None:
        if self._count < self._shortest:
            self._short = np.concatenate([self._short, samples])
        self._count += len(samples)
        weighted = samples.astype(np.float64)
        for index, (b, a) in enumerate(self._filters):
            weighted, self._filter_states[index] = self._lfilter(
                b, a, weighted, zi=self._filter_states[index]
            )
        self._squares = np.concatenate([self._squares, np.square(weighted)])
        while self._block_bounds()[1] <= self._count:
            self._end_block()

    def integrated_lufs(self) -> float | None:
        """Returns the loudness of all that was added; None below the absolute gate. Nothing may follow."""
        if 0 < self._count < self._shortest:
            repeated = _LoudnessMeter(self._rate_hz)
            repeated.add(np.resize(self._short, self._shortest))
            return repeated.integrated_lufs()
        # As in pyloudnorm, a last block counts if more than half of its step is there.
        duration_s = self._count / self._rate_hz
        blocks = round((duration_s - _GATING_BLOCK_S) / (_GATING_BLOCK_S * _STEP)) + 1
        while len(self._powers) < blocks:
            self._end_block()
        powers = np.array(self._powers[: max(blocks, 0)])
        powers = powers[powers >= _power(_ABSOLUTE_GATE_LUFS)]
        if len(powers) == 0:
            return None
        relative_gate_lufs = _lufs(powers.mean()) - _RELATIVE_GATE_LU
        return _lufs(powers[powers > _power(relative_gate_lufs)].mean())

    @property
    def _shortest(self) -> int:
        return math.ceil(_GATING_BLOCK_S * self._rate_hz)

    def _block_bounds(self) -> tuple[int, int]:
        """Returns where the next gating block starts and ends, in samples from the start of the audio."""
        steps = len(self._powers) * _STEP
        start_s, end_s = _GATING_BLOCK_S * steps, _GATING_BLOCK_S * (steps + 1)
        return int(start_s * self._rate_hz), int(end_s * self._rate_hz)

    def _end_block(self) -> None:
        start, end = self._block_bounds()
        block = self._squares[: end - start]
        self._powers.append(float(block.sum()) / (_GATING_BLOCK_S * self._rate_hz))
        self._squares = self._squares[self._block_bounds()[0] - start :]


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


def _lufs(power: float) -> float:
    return -0.691 + 10 * math.log10(power)


def _blocks(chunks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yields the chunks' samples, at most _BLOCK_SAMPLES at a time and never none."""
    for chunk in chunks:
        for start in range(0, len(chunk), _BLOCK_SAMPLES):
            yield chunk[start : start + _BLOCK_SAMPLES]
