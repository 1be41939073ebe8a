"""A recording's conditionals equal upstream's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audio.waveform import Waveform
from benchmarks.upstream import load as load_upstream
from errors import ReferenceTooShort
from speech.models.spec import CHATTERBOX
from speech.reference.conditionals import Conditionals
from speech.reference.encoder import ReferenceEncoder, load_reference_encoder
from tests.recordings import speech_like
from tests.speech.upstream import upstream_conditionals


@pytest.fixture(scope="module")
def encoder(our_model) -> ReferenceEncoder:
    return load_reference_encoder(our_model.folder, our_model.spec, our_model.dimensions)


def recording(duration_s: float, seed: int = 0) -> Waveform:
    return Waveform(speech_like(duration_s, 24_000, seed=seed), 24_000)


@pytest.mark.parametrize("duration_s", [0.6, 3.0, 5.99, 7.3701, 10.0, 12.5, 31.0])
def test_equal_to_upstream(encoder, smoke_checkpoint, tmp_path, duration_s):
    waveform = recording(duration_s)
    theirs = upstream_conditionals(load_upstream(smoke_checkpoint), waveform.samples, tmp_path)
    ours = encoder.compute(waveform)
    assert_equal_conditionals(ours, theirs, tolerance=1e-5)
    assert ours.fits(CHATTERBOX.conditioning)


def assert_equal_conditionals(ours: Conditionals, theirs, tolerance: float) -> None:
    """theirs: ``chatterbox.tts.Conditionals``."""
    assert torch.equal(ours.t3_prompt_tokens, theirs.t3.cond_prompt_speech_tokens)
    assert torch.equal(ours.prompt_tokens, theirs.gen["prompt_token"])
    assert theirs.gen["prompt_token_len"].tolist() == [ours.prompt_tokens.shape[1]]
    torch.testing.assert_close(ours.prompt_mel, theirs.gen["prompt_feat"], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.xvector, theirs.gen["embedding"], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        ours.speaker_embedding, theirs.t3.speaker_emb, rtol=tolerance, atol=tolerance / 10
    )
    # What upstream keeps besides is nothing, or follows from the rest.
    assert theirs.gen.keys() == {
        "prompt_token",
        "prompt_token_len",
        "prompt_feat",
        "prompt_feat_len",
        "embedding",
    }
    assert theirs.gen["prompt_feat_len"] is None


def test_a_fragment_is_refused_with_its_length(encoder):
    with pytest.raises(ReferenceTooShort, match="0.30 s"):
        encoder.compute(recording(0.3))


def test_silence_gives_finite_conditionals(encoder):
    conditionals = encoder.compute(Waveform(np.zeros(48_000, np.float32), 24_000))
    assert conditionals.fits(CHATTERBOX.conditioning)


def test_a_read_only_recording_is_encoded_and_left_as_it_was(encoder):
    """A stored voice's samples are the store's own."""
    waveform = recording(3.0)
    before = waveform.samples.copy()
    waveform.samples.flags.writeable = False
    encoder.compute(waveform)
    assert np.array_equal(waveform.samples, before)
