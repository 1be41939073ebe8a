"""Spectrograms and trimming equal those of librosa and upstream."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from chatterbox.models.s3gen.utils.mel import mel_spectrogram
from chatterbox.models.voice_encoder import VoiceEncConfig
from chatterbox.models.voice_encoder.melspec import melspectrogram

from speech.reference import spectra
from speech.reference.spectra import mel_filters, s3gen_mel, trim, voice_encoder_mel
from tests.recordings import speech_like

# Lengths around the hops and windows of all three, from half a second on.
LENGTHS = (8_000, 8_159, 8_160, 8_191, 8_192, 16_001, 40_321)


def recording(length: int, seed: int = 0) -> np.ndarray:
    """Speech between two silences that are not digital zeros."""
    samples = speech_like(length / 16_000 + 0.01, 16_000, seed=seed)[:length].astype(np.float32)
    envelope = np.clip(np.sin(np.linspace(0, np.pi, length)) * 1.6 - 0.4, 1e-3, 1)
    return (samples * envelope).astype(np.float32)


@pytest.mark.parametrize(
    "arguments", [(16_000, 400, 128, 8_000), (16_000, 400, 40, 8_000), (24_000, 1920, 80, 8_000)]
)
def test_mel_filters_are_those_of_librosa(arguments):
    rate_hz, window, channels, highest_hz = arguments
    expected = librosa.filters.mel(sr=rate_hz, n_fft=window, n_mels=channels, fmin=0, fmax=highest_hz)
    assert np.array_equal(mel_filters(*arguments), expected)


@pytest.mark.parametrize("length", LENGTHS)
def test_mels_are_upstreams(length):
    samples = recording(length)
    expected = melspectrogram(samples, VoiceEncConfig()).T
    np.testing.assert_allclose(voice_encoder_mel(samples), expected, rtol=1e-5, atol=1e-7)
    batch = torch.from_numpy(np.stack([samples, samples[::-1]]))
    assert torch.equal(s3gen_mel(batch), mel_spectrogram(batch))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("seed", range(5))
def test_a_recording_is_trimmed_as_librosa_trims_it(length, seed):
    samples = recording(length, seed)
    expected, _ = librosa.effects.trim(samples, top_db=20)
    assert len(expected) < length
    assert np.array_equal(trim(samples), expected)


def test_of_silence_all_is_left():
    assert len(trim(np.zeros(8_000, np.float32))) == len(
        librosa.effects.trim(np.zeros(8_000, np.float32), top_db=20)[0]
    )


def test_what_was_encoded_before_does_not_hinder_a_training_step():
    """The tables are kept, and a reference is encoded in inference mode."""
    spectra._s3gen_tables.cache_clear()
    with torch.inference_mode():
        s3gen_mel(torch.zeros(1, 24_000))
    samples = torch.zeros(1, 24_000, requires_grad=True)
    s3gen_mel(samples).sum().backward()
    assert samples.grad is not None
