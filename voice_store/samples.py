"""Arrays of any kind that programs keep audio in, made into the one kind that the store keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.limits import MAX_CHANNELS, MAX_SAMPLE_RATE_HZ, MIN_SAMPLE_RATE_HZ
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample

MAX_DURATION_S = 600.0  # far beyond what a model listens to; bounds what resampling may allocate

_FULL_SCALE = {"i2": 2.0**15, "i4": 2.0**31}  # integer sample types and what they count as 1.0
_FLOATS = frozenset({"f2", "f4", "f8"})


def to_waveform(array: NDArray[Any], sample_rate_hz: int) -> Waveform:
    """Mono float32 at 24 kHz, in memory of its own.

    array: float16, float32, float64, int16 or int32, [n], [n, channels] or [channels, n]; the shorter side
        is taken for the channels, which are averaged. Integers are scaled to -1..1.
    sample_rate_hz: 8,000 to 192,000.

    Raises ValueError with a sentence about the audio when it is none of these, empty, longer than ten minutes
    or not finite.
    """
    if not MIN_SAMPLE_RATE_HZ <= sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
        raise ValueError(f"the sample rate must be {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} Hz")
    if array.size == 0:
        raise ValueError("there is no audio in it")
    if max(array.shape, default=0) > MAX_DURATION_S * sample_rate_hz:
        raise ValueError(f"the audio is longer than {MAX_DURATION_S:.0f} s")
    samples = _mix_down(_to_float32(array))
    waveform = resample(Waveform(samples, sample_rate_hz), MODEL_SAMPLE_RATE_HZ)
    # Asked before and after: a huge finite sample may overflow in the resampler.
    if not (np.isfinite(samples).all() and np.isfinite(waveform.samples).all()):
        raise ValueError("some samples are not finite numbers")
    if len(waveform.samples) == 0:
        raise ValueError("there is no audio in it")
    return waveform


def _to_float32(array: NDArray[Any]) -> NDArray[np.float32]:
    code = array.dtype.str[1:]
    if code in _FULL_SCALE:
        return array.astype(np.float32) / np.float32(_FULL_SCALE[code])
    if code not in _FLOATS:
        raise ValueError("samples must be floats, int16 or int32")
    with np.errstate(over="ignore"):  # becomes an infinity, which is refused with the others
        return np.array(array, dtype=np.float32, order="C")


def _mix_down(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or min(samples.shape) > MAX_CHANNELS:
        raise ValueError(f"the audio must be one row of samples, or up to {MAX_CHANNELS} channels of them")
    with np.errstate(over="ignore", invalid="ignore"):
        mixed: NDArray[np.float32] = samples.mean(axis=int(np.argmin(samples.shape)), dtype=np.float32)
    return mixed
