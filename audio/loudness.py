"""Measures loudness, and normalizes audio to a level."""

from __future__ import annotations

import math

import numpy as np

from audio.waveform import Waveform

NORMALIZATIONS = ("peak", "rms", "lufs")

PEAK_TARGET_DBFS = -1.0  # headroom for what a lossy codec or a converter adds between samples
RMS_TARGET_DBFS = -20.0  # within the -23 to -18 dB that ACX asks of audiobooks
LUFS_TARGET = -16.0  # what Apple asks of podcasts, with peaks up to -1 dBFS

_GATING_BLOCK_S = 0.4  # ITU-R BS.1770-4


def normalize(waveform: Waveform, mode: str | None) -> Waveform:
    """Returns the waveform with one gain applied throughout.

    None leaves it as it is. "peak" brings the highest sample to -1 dBFS, "rms" the mean power to -20
    dBFS, "lufs" the integrated loudness to -16 LUFS. The last two stop where the peak reaches -1
    dBFS, so that spiky audio ends up quieter than the target rather than clipped. Silence stays as
    it is.
    """
    if mode is None:
        return waveform
    assert mode in NORMALIZATIONS, mode
    peak_dbfs = measure_peak_dbfs(waveform)
    if peak_dbfs is None:
        return waveform
    gain_db = PEAK_TARGET_DBFS - peak_dbfs
    if mode == "rms":
        rms = math.sqrt(float(np.square(waveform.samples, dtype=np.float64).mean()))
        gain_db = min(gain_db, RMS_TARGET_DBFS - 20 * math.log10(rms))
    elif mode == "lufs":
        loudness_lufs = measure_loudness_lufs(waveform)
        if loudness_lufs is None:
            return waveform
        gain_db = min(gain_db, LUFS_TARGET - loudness_lufs)
    return Waveform(waveform.samples * np.float32(10 ** (gain_db / 20)), waveform.sample_rate_hz)


def measure_peak_dbfs(waveform: Waveform) -> float | None:
    """Returns the highest absolute sample, 0 dBFS being 1.0; None for digital silence or no samples."""
    peak = float(np.abs(waveform.samples).max(initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else None


def measure_loudness_lufs(waveform: Waveform) -> float | None:
    """Measures integrated loudness by ITU-R BS.1770-4; None below its absolute gate of -70 LUFS.

    Audio shorter than one gating block of 0.4 s is repeated to fill it.
    """
    import pyloudnorm  # brings scipy, a second or two: only jobs that measure loudness wait for it

    samples = waveform.samples
    if len(samples) == 0:
        return None
    block_samples = math.ceil(_GATING_BLOCK_S * waveform.sample_rate_hz)
    if len(samples) < block_samples:
        samples = np.resize(samples, block_samples)
    loudness_lufs = float(
        pyloudnorm.Meter(waveform.sample_rate_hz).integrated_loudness(samples.astype(np.float64))
    )
    return loudness_lufs if math.isfinite(loudness_lufs) else None
