"""Spectrograms, resampling and trimming equal those of librosa, torchaudio and upstream."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from chatterbox.models.s3gen.utils.mel import mel_spectrogram
from chatterbox.models.s3gen.xvector import extract_feature
from chatterbox.models.s3tokenizer import S3Tokenizer
from chatterbox.models.voice_encoder import VoiceEncConfig
from chatterbox.models.voice_encoder.melspec import melspectrogram

from speech.reference import spectra
from speech.reference.spectra import (
    mel_filters,
    resample_prompt,
    s3gen_mel,
    tokenizer_mel,
    trim,
    voice_encoder_mel,
    xvector_features,
)
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


@pytest.fixture(scope="module")
def tokenizer(upstream_model) -> S3Tokenizer:
    return upstream_model.reference_encoder._s3gen.tokenizer


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("is_silent", [False, True], ids=["speech", "silence"])
def test_what_the_tokenizer_and_camp_plus_take_is_upstreams(tokenizer, length, is_silent):
    samples = torch.zeros(length) if is_silent else torch.from_numpy(recording(length))
    torch.testing.assert_close(
        tokenizer_mel(samples), tokenizer.log_mel_spectrogram(samples), rtol=1e-5, atol=1e-6
    )
    expected, _, _ = extract_feature([samples])
    torch.testing.assert_close(xvector_features(samples), expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [*LENGTHS, 1, 2, 3, 24_000, 24_001, 24_002])
def test_prompts_are_resampled_as_torchaudio_resamples(length):
    batch = torch.from_numpy(np.stack([recording(length, seed) for seed in range(2)]))
    expected = torchaudio.transforms.Resample(24_000, 16_000)(batch)
    torch.testing.assert_close(resample_prompt(batch), expected, rtol=1e-5, atol=1e-6)


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
    for tables in (
        spectra._s3gen_tables,
        spectra._tokenizer_tables,
        spectra._xvector_tables,
        spectra._resampling_kernels,
    ):
        tables.cache_clear()

    def compute(samples: torch.Tensor) -> torch.Tensor:
        outputs = [s3gen_mel(samples), resample_prompt(samples), tokenizer_mel(samples[0])]
        return sum(output.sum() for output in (*outputs, xvector_features(samples[0])))

    with torch.inference_mode():
        compute(torch.zeros(1, 24_000))
    samples = torch.zeros(1, 24_000, requires_grad=True)
    compute(samples).backward()
    assert samples.grad is not None
