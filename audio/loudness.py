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

# After so long the filters' answer to a sample is below 1e-20: the slower one falls by e every 4.2 ms.
_MEMORY_S = 0.25

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

    Agrees with ``pyloudnorm.Meter``, which needs the whole audio at once, several times over in float64, and
    imports scipy.signal, for seconds.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._history = np.zeros(math.ceil(_MEMORY_S * sample_rate_hz))  # samples that were weighted last
        self._pending = np.zeros(0, np.float32)  # samples that are not yet weighted
        self._squares = np.zeros(0)  # of weighted samples, from the start of the next gating block
        self._powers: list[float] = []  # mean square of each gating block
        self._count = 0  # samples so far

    def add(self, samples: NDArray[np.float32]) -> None:
        self._count += len(samples)
        self._pending = np.concatenate([self._pending, samples])
        if len(self._pending) >= _BLOCK_SAMPLES:
            self._weight_pending()

    def integrated_lufs(self) -> float | None:
        """Returns the loudness of all that was added; None below the absolute gate. Nothing may follow."""
        if 0 < self._count < self._shortest:
            repeated = _LoudnessMeter(self._rate_hz)
            repeated.add(np.resize(self._pending, self._shortest))
            return repeated.integrated_lufs()
        self._weight_pending()
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

    def _weight_pending(self) -> None:
        """Filters by multiplying spectra. What the end wraps around to falls onto the history."""
        joined = np.concatenate([self._history, self._pending])
        spectrum = np.fft.rfft(joined) * _k_weighting(self._rate_hz, len(joined))
        weighted = np.fft.irfft(spectrum, len(joined))[len(self._history) :]
        self._history, self._pending = joined[-len(self._history) :], np.zeros(0, np.float32)
        self._squares = np.concatenate([self._squares, np.square(weighted)])
        while self._block_bounds()[1] <= self._count:
            self._end_block()

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


def _k_weighting(rate_hz: int, samples: int) -> NDArray[np.complex128]:
    """Returns the frequency response of BS.1770's filters at the bins of ``numpy.fft.rfft``."""
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(samples))  # of one sample
    shelf, high_pass = _high_shelf(4.0, 1 / math.sqrt(2), 1_500.0 / rate_hz), _high_pass(0.5, 38.0 / rate_hz)
    response: NDArray[np.complex128] = np.ones_like(delay)
    for numerator, denominator in (shelf, high_pass):
        response *= np.polyval(numerator[::-1], delay) / np.polyval(denominator[::-1], delay)
    return response


# Both by R. Bristow-Johnson's "Cookbook formulae for audio EQ biquad filter coefficients", with the figures
# of ``pyloudnorm.Meter``. frequency: in cycles a sample. They return the coefficients of numerator and
# denominator.
_Biquad = tuple[list[float], list[float]]


def _high_shelf(gain_db: float, q: float, frequency: float) -> _Biquad:
    cosine, alpha = math.cos(2 * math.pi * frequency), math.sin(2 * math.pi * frequency) / (2 * q)
    gain = 10 ** (gain_db / 40)
    more, less, width = gain + 1, gain - 1, 2 * math.sqrt(gain) * alpha
    numerator = [more + less * cosine + width, -2 * (less + more * cosine), more + less * cosine - width]
    denominator = [more - less * cosine + width, 2 * (less - more * cosine), more - less * cosine - width]
    return [gain * value for value in numerator], denominator


def _high_pass(q: float, frequency: float) -> _Biquad:
    cosine, alpha = math.cos(2 * math.pi * frequency), math.sin(2 * math.pi * frequency) / (2 * q)
    return [(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2], [1 + alpha, -2 * cosine, 1 - alpha]


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


def _lufs(power: float) -> float:
    return -0.691 + 10 * math.log10(power)


def _blocks(chunks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yields the chunks' samples, at most _BLOCK_SAMPLES at a time and never none."""
    for chunk in chunks:
        for start in range(0, len(chunk), _BLOCK_SAMPLES):
            yield chunk[start : start + _BLOCK_SAMPLES]
