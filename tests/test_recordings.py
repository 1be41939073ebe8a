"""The recordings that other tests lean on hold what they promise."""

import io

import numpy as np
import pytest
import soundfile

from tests.recordings import click, clipped, silence, speech_like, tone, wav_bytes, white_noise


@pytest.mark.parametrize("make", [click, clipped, silence, speech_like, tone, white_noise])
def test_length_type_and_range_are_as_promised(make):
    samples = make(1.234)
    assert samples.shape == (round(1.234 * 24_000),)
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= 1.0


def test_the_same_seed_gives_the_same_speech_and_another_seed_another_voice():
    np.testing.assert_array_equal(speech_like(2.0, seed=3), speech_like(2.0, seed=3))
    voices = [speech_like(10.0, seed=seed) for seed in range(6)]
    spectra = [np.abs(np.fft.rfft(voice))[1_000:30_000].reshape(-1, 100).mean(axis=1) for voice in voices]
    likeness = np.corrcoef(spectra) - np.eye(6)
    assert likeness.max() < 0.9


def test_wav_bytes_is_a_wav_file():
    samples, sample_rate_hz = soundfile.read(
        io.BytesIO(wav_bytes(tone(0.5), 16_000, "FLOAT")), dtype="float32"
    )
    assert sample_rate_hz == 16_000
    np.testing.assert_array_equal(samples, tone(0.5))
