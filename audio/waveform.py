"""Defines ``Waveform``, the mono audio that all packages exchange, and resampling."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

MODEL_SAMPLE_RATE_HZ = 24_000  # what Chatterbox takes and gives, and what the store keeps


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono audio."""

    samples: NDArray[np.float32]  # [n], C-contiguous, nominally within -1 to 1
    sample_rate_hz: int

    def __post_init__(self) -> None:
        assert self.samples.ndim == 1, self.samples.shape
        assert self.samples.dtype == np.float32, self.samples.dtype

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz

    def first(self, duration_s: float) -> Waveform:
        """Returns at most the first ``duration_s`` seconds."""
        count = round(duration_s * self.sample_rate_hz)
        return self if count >= len(self.samples) else Waveform(self.samples[:count], self.sample_rate_hz)

    def digest(self) -> str:
        """Returns the SHA-256, as 64 hex digits, of the rate and the little-endian float32 samples."""
        little_endian = np.ascontiguousarray(self.samples, dtype="<f4")
        return hashlib.sha256(self.sample_rate_hz.to_bytes(4, "little") + little_endian.tobytes()).hexdigest()


def resample(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """Resamples to another rate, by soxr at high quality (what librosa calls ``soxr_hq``)."""
    if waveform.sample_rate_hz == sample_rate_hz:
        return waveform
    samples = soxr.resample(waveform.samples, waveform.sample_rate_hz, sample_rate_hz, quality="HQ")
    return Waveform(np.ascontiguousarray(samples, dtype=np.float32), sample_rate_hz)
