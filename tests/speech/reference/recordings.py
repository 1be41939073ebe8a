"""Real recordings of any length, and silence."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from audio.decode import decode_audio
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample

REPOSITORY = Path(__file__).parents[3]
FILES = (
    REPOSITORY / "samples" / "reference.flac",
    *sorted((REPOSITORY / "tests" / "speech_samples").glob("*.flac")),
)
NAMES = tuple(file.stem for file in FILES)
SILENCE = "silence"


@functools.cache
def whole(name: str) -> Waveform:
    """Returns a recording at 24 kHz. name: of ``NAMES``."""
    file = FILES[NAMES.index(name)]
    return resample(decode_audio(file.read_bytes(), file.name), MODEL_SAMPLE_RATE_HZ)


def recording(name: str, duration_s: float) -> Waveform:
    """Returns so much of a recording at 24 kHz, repeated where it is shorter; or of ``SILENCE``."""
    count = round(duration_s * MODEL_SAMPLE_RATE_HZ)
    samples = np.zeros(1, np.float32) if name == SILENCE else whole(name).samples
    return Waveform(np.resize(samples, count), MODEL_SAMPLE_RATE_HZ)


def at_16k(name: str, duration_s: float) -> np.ndarray:
    """Returns the samples of ``recording`` at the rate of the encoders."""
    return resample(recording(name, duration_s), 16_000).samples
