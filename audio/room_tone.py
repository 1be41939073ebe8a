"""The noise of a voice's room: measured where the voice rests, and made anew. numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.pauses import QUIET_BELOW_SPEECH_DB
from audio.vad import frame_counts, measure_levels
from audio.waveform import Waveform

FADE_S = 0.02  # ends of speech that meet a pause are faded for so long, see ``speech.trim``
# 16-bit audio rounds what is softer to zeros, or nearly.
_DIGITAL_SILENCE_DBFS = -96.0
_FLOOR_PERCENTILE = 5.0  # of the frames; below it lie cuts and gaps between periods of a low voice
_QUIET_ABOVE_FLOOR_DB = 3.0  # about as far as the level of steady noise wanders from frame to frame
_LEAST_FRAMES = 5  # of 32 ms, one each 10 ms: 72 ms
_FFT_MULTIPLE = 4_096  # lengths with large prime factors take long


@dataclass(frozen=True, eq=False)
class Noise:
    """Steady noise, described by its spectrum."""

    power: NDArray[np.float64]  # [bins] from 0 Hz to half the rate; noise of variance v has a mean of v
    sample_rate_hz: int


def measure_noise(speech: Waveform) -> Noise | None:
    """Measures the quietest noise between the words of a stretch of speech.

    None where there is none: in digital silence, where the quietest is not 20 dB below the speech, and in
    less than 0.12 s. The first and the last 20 ms do not count.
    """
    rate_hz = speech.sample_rate_hz
    faded = round(FADE_S * rate_hz)
    inner = Waveform(speech.samples[faded : max(len(speech.samples) - faded, faded)], rate_hz)
    frame, hop = frame_counts(rate_hz)
    if len(inner.samples) < frame + (_LEAST_FRAMES - 1) * hop:
        return None
    level_dbfs, loud_dbfs = measure_levels(inner)
    floor_dbfs = float(np.percentile(level_dbfs, _FLOOR_PERCENTILE))
    if not _DIGITAL_SILENCE_DBFS < floor_dbfs <= loud_dbfs - QUIET_BELOW_SPEECH_DB:
        return None
    is_quiet = (level_dbfs > _DIGITAL_SILENCE_DBFS) & (level_dbfs <= floor_dbfs + _QUIET_ABOVE_FLOOR_DB)
    frames = np.lib.stride_tricks.sliding_window_view(inner.samples, frame)[::hop][is_quiet]
    window = np.hanning(frame + 1)[:-1]
    spectra = np.fft.rfft((frames - frames.mean(axis=1, keepdims=True)) * window)
    power = np.square(np.abs(spectra)).mean(axis=0) / np.square(window).sum()
    return Noise(power, rate_hz)


def make_noise(noise: Noise, count: int, seed: Sequence[int]) -> NDArray[np.float32]:
    """Returns Gaussian noise with a spectrum, float32 [count]; the same for the same seed.

    count: at least 1. seed: whole numbers from 0 on.
    """
    length = -(-count // _FFT_MULTIPLE) * _FFT_MULTIPLE
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(length))
    places = np.linspace(0.0, len(noise.power) - 1, len(white))
    shaped = white * np.sqrt(np.interp(places, np.arange(len(noise.power)), noise.power))
    return np.fft.irfft(shaped, length)[:count].astype(np.float32)
