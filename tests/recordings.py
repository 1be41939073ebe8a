"""Recordings to test with, made of arithmetic: the same arguments give the same samples.

All return float32 [n] within -1 to 1, n being ``round(duration_s * sample_rate_hz)``.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float32]

# Formants 1 to 4 in Hz of an average adult for /i/, /e/, /a/, /o/, /u/; a voice scales them by its length.
_VOWELS_HZ = np.array(
    [
        [300, 2250, 3000, 3600],
        [480, 1950, 2600, 3500],
        [750, 1250, 2500, 3500],
        [500, 900, 2450, 3400],
        [330, 800, 2300, 3300],
    ]
)
_FORMANT_WIDTHS_HZ = np.array([80, 100, 150, 200])
_GOLDEN_RATIO = 0.6180339887498949  # its multiples, modulo 1, keep neighbouring seeds far apart


def speech_like(duration_s: float, sample_rate_hz: int = 24_000, seed: int = 0) -> Samples:
    """Babble: vowels on a drifting pitch, hisses between them, a pause after every few syllables.

    Not words, but what a detector of speech looks for. Each seed is a voice of its own: pitch
    (90 to 230 Hz), length of the vocal tract (formants scaled 0.85 to 1.15), pace and tilt.
    """
    rng = np.random.default_rng(seed)
    place = (seed * _GOLDEN_RATIO) % 1.0
    pitch_hz = 90.0 * (230.0 / 90.0) ** place
    tract = 0.85 + 0.3 * place
    pace = rng.uniform(0.85, 1.15)
    count = round(duration_s * sample_rate_hz)
    pieces: list[Samples] = []
    total = 0
    while total < count:
        for _ in range(int(rng.integers(4, 8))):
            if rng.random() < 0.6:
                pieces.append(_hiss(rng.uniform(0.05, 0.1) * pace, sample_rate_hz, rng))
            glide_hz = pitch_hz * rng.uniform(0.85, 1.2, size=2)
            pieces.append(_vowel(rng.uniform(0.12, 0.26) * pace, sample_rate_hz, glide_hz, tract, rng))
        pieces.append(silence(rng.uniform(0.15, 0.4) * pace, sample_rate_hz))
        total = sum(len(piece) for piece in pieces)
    samples = np.concatenate(pieces)[:count]
    room = 3e-4 * rng.standard_normal(count)
    return (0.5 * samples + room).astype(np.float32)


def _vowel(
    duration_s: float,
    sample_rate_hz: int,
    glide_hz: NDArray[np.float64],
    tract: float,
    rng: np.random.Generator,
) -> Samples:
    """Harmonics of a gliding pitch, each as loud as the moving formants make it; peak 1."""
    count = max(round(duration_s * sample_rate_hz), 2)
    course = np.linspace(0.0, 1.0, count)
    pitch_hz = glide_hz[0] + (glide_hz[1] - glide_hz[0]) * course
    phase = 2 * np.pi * np.cumsum(pitch_hz) / sample_rate_hz
    start, end = _VOWELS_HZ[rng.integers(len(_VOWELS_HZ), size=2)] * tract
    top_hz = min(0.45 * sample_rate_hz, 5_000.0)
    samples = np.zeros(count)
    for harmonic in range(1, int(top_hz / pitch_hz.max()) + 1):
        frequency_hz = harmonic * pitch_hz
        loudness = np.zeros(count)
        for formant in range(_VOWELS_HZ.shape[1]):
            centre_hz = start[formant] + (end[formant] - start[formant]) * course
            loudness += 1.0 / (1.0 + ((frequency_hz - centre_hz) / _FORMANT_WIDTHS_HZ[formant]) ** 2)
        samples += loudness / harmonic**0.7 * np.sin(harmonic * phase)
    samples *= np.sin(np.pi * course) ** 0.5
    loudest = float(np.abs(samples).max())
    return np.asarray(samples / loudest * rng.uniform(0.6, 1.0), np.float32)


def _hiss(duration_s: float, sample_rate_hz: int, rng: np.random.Generator) -> Samples:
    """Noise that rises with frequency, as in an s."""
    noise = np.diff(rng.standard_normal(max(round(duration_s * sample_rate_hz), 2) + 1))
    return (0.06 * noise * np.hanning(len(noise))).astype(np.float32)


def tone(
    duration_s: float, frequency_hz: float = 440.0, sample_rate_hz: int = 24_000, peak: float = 0.5
) -> Samples:
    time_s = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
    return (peak * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def music(duration_s: float, sample_rate_hz: int = 24_000, seed: int = 0) -> Samples:
    """Chords of plucked strings over a bass, with a cymbal on each beat."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(round(duration_s * sample_rate_hz), np.float32)
    beat_s = 0.5
    for beat, start in enumerate(range(0, len(samples), round(beat_s * sample_rate_hz))):
        room = samples[start:]
        root = 48 + (0, 5, 7, 3)[beat // 4 % 4]
        for pitch in (root - 12, *(root + int(step) for step in rng.choice([0, 4, 7, 12, 16], 3))):
            _add(room, _string(440 * 2 ** ((pitch - 69) / 12), 4 * beat_s, sample_rate_hz))
        cymbal = _hiss(0.1, sample_rate_hz, rng)
        _add(room, 0.5 * cymbal * np.exp(-np.linspace(0, 6, len(cymbal))))
    return np.asarray(0.3 * samples / np.abs(samples).max(), np.float32)


def _add(room: Samples, sound: Samples) -> None:
    length = min(len(room), len(sound))
    room[:length] += sound[:length]


def _string(hz: float, duration_s: float, sample_rate_hz: int) -> Samples:
    time_s = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
    partials = [
        np.sin(2 * np.pi * hz * number * time_s) * np.exp(-time_s * 1.5 * number) / number
        for number in range(1, 9)
    ]
    return np.asarray(np.sum(partials, axis=0), np.float32)


def silence(duration_s: float, sample_rate_hz: int = 24_000) -> Samples:
    return np.zeros(round(duration_s * sample_rate_hz), dtype=np.float32)


def white_noise(duration_s: float, sample_rate_hz: int = 24_000, rms: float = 0.1, seed: int = 0) -> Samples:
    noise = rms * np.random.default_rng(seed).standard_normal(round(duration_s * sample_rate_hz))
    return np.clip(noise, -1.0, 1.0).astype(np.float32)


def click(duration_s: float, sample_rate_hz: int = 24_000, click_s: float = 0.2) -> Samples:
    """Silence with one decaying burst of noise in its middle, ``click_s`` long."""
    samples = silence(duration_s, sample_rate_hz)
    burst = white_noise(click_s, sample_rate_hz, rms=0.3) * np.exp(
        -np.linspace(0.0, 6.0, round(click_s * sample_rate_hz))
    )
    start = (len(samples) - len(burst)) // 2
    samples[start : start + len(burst)] = burst
    return samples


def clipped(duration_s: float, sample_rate_hz: int = 24_000, seed: int = 0, gain: float = 4.0) -> Samples:
    """``speech_like`` driven ``gain`` times into full scale."""
    return np.asarray(np.clip(gain * speech_like(duration_s, sample_rate_hz, seed), -1.0, 1.0), np.float32)


def wav_bytes(
    samples: NDArray[np.floating] | NDArray[np.int16], sample_rate_hz: int = 24_000, subtype: str = "PCM_16"
) -> bytes:
    """A WAV file of float [n] or [n, channels]."""
    return file_bytes(samples, sample_rate_hz, "WAV", subtype)


def file_bytes(
    samples: NDArray[np.floating] | NDArray[np.int16],
    sample_rate_hz: int,
    container: str,
    subtype: str | None = None,
) -> bytes:
    """A file in any container that libsndfile writes; names as in ``soundfile``."""
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(buffer, "w", sample_rate_hz, channels, subtype, format=container) as file:
        for start in range(0, len(samples), 65_536):  # libsndfile's Vorbis encoder crashes on more at once
            file.write(samples[start : start + 65_536])
    return buffer.getvalue()
