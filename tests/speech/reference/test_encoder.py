"""A recording's conditionals equal upstream's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from audio.waveform import Waveform
from benchmarks.upstream import load as load_upstream
from errors import ReferenceTooShort
from speech.models.spec import CHATTERBOX
from speech.reference.conditionals import Conditionals
from speech.reference.encoder import RecordingEncoder
from tests.speech.reference.recordings import NAMES, SILENCE, recording, whole
from tests.speech.upstream import upstream_conditionals

CASES = [(NAMES[0], duration_s) for duration_s in (0.5, 0.501, 1.0, 5.99, 6.0, 10.003, 60.0)] + [
    (SILENCE, 0.501),
    (SILENCE, 6.0),
]


@pytest.fixture(scope="module")
def encoder(our_model) -> RecordingEncoder:
    return our_model.reference_encoder


@pytest.mark.parametrize(("name", "duration_s"), CASES)
def test_conditionals_of_any_length_equal_upstreams(networks, name, duration_s):
    waveform = recording(name, duration_s)
    ours = networks.ours().compute(waveform)
    assert_same_conditionals(ours, networks.upstreams().compute(waveform), tolerance=1e-5)
    assert ours.fits(CHATTERBOX.conditioning)


@pytest.mark.parametrize("name", NAMES)
def test_conditionals_of_any_voice_equal_upstreams(networks, name):
    waveform = whole(name)
    assert_same_conditionals(
        networks.ours().compute(waveform), networks.upstreams().compute(waveform), tolerance=1e-5
    )


@pytest.mark.parametrize("duration_s", [0.6, 7.3701, 31.0])
def test_the_reference_engine_gives_what_upstream_gives_for_a_file(
    upstream_model, smoke_checkpoint, tmp_path, duration_s
):
    waveform = recording(NAMES[0], duration_s)
    theirs = upstream_conditionals(load_upstream(smoke_checkpoint), waveform.samples, tmp_path)
    ours = upstream_model.reference_encoder.compute(waveform)
    assert_equal_conditionals(ours, theirs, tolerance=1e-7)


def assert_same_conditionals(ours: Conditionals, theirs: Conditionals, tolerance: float) -> None:
    """The same tokens; mels and embeddings within a tolerance, x-vectors once they have the length 1."""
    assert torch.equal(ours.t3_prompt_tokens, theirs.t3_prompt_tokens)
    assert torch.equal(ours.prompt_tokens, theirs.prompt_tokens)
    for found, expected in (
        (ours.prompt_mel, theirs.prompt_mel),
        (ours.speaker_embedding, theirs.speaker_embedding),
        (F.normalize(ours.xvector, dim=1), F.normalize(theirs.xvector, dim=1)),
    ):
        torch.testing.assert_close(found, expected, rtol=0.0, atol=tolerance)


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
        encoder.compute(recording(NAMES[0], 0.3))


def test_silence_gives_finite_conditionals(encoder):
    conditionals = encoder.compute(Waveform(np.zeros(48_000, np.float32), 24_000))
    assert conditionals.fits(CHATTERBOX.conditioning)


def test_a_read_only_recording_is_encoded_and_left_as_it_was(encoder):
    """A stored voice's samples are the store's own."""
    waveform = recording(NAMES[0], 3.0)
    before = waveform.samples.copy()
    waveform.samples.flags.writeable = False
    encoder.compute(waveform)
    assert np.array_equal(waveform.samples, before)
