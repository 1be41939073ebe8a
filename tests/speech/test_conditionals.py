"""A voice's conditionals equal upstream's, come from the cache the second time, and stay unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audio.waveform import Waveform
from errors import ReferenceTooShort
from speech.conditionals import ConditionalsEncoder
from speech.contract import Reference
from tests.recordings import speech_like
from tests.speech.upstream import upstream_around, upstream_conditionals


def encoder_of(model, **options) -> ConditionalsEncoder:
    return ConditionalsEncoder(model.s3gen, model.voice_encoder, model.device, **options)


def recording(duration_s: float, seed: int = 0) -> Waveform:
    return Waveform(speech_like(duration_s, 24_000, seed=seed), 24_000)


@pytest.mark.parametrize("duration_s", [0.6, 3.0, 5.99, 7.3701, 10.0, 12.5, 31.0])
def test_equal_to_upstream(tiny_model, smoke_checkpoint, tmp_path, duration_s):
    waveform = recording(duration_s)
    theirs = upstream_conditionals(upstream_around(tiny_model, smoke_checkpoint), waveform.samples, tmp_path)
    ours = encoder_of(tiny_model).compute(waveform)

    assert torch.equal(ours.t3_prompt_tokens, theirs.t3.cond_prompt_speech_tokens)
    assert torch.equal(ours.decoder_prompt["prompt_token"], theirs.gen["prompt_token"])
    assert torch.equal(ours.decoder_prompt["prompt_token_len"], theirs.gen["prompt_token_len"])
    assert ours.decoder_prompt.keys() == theirs.gen.keys()
    for name in ("prompt_feat", "embedding"):
        torch.testing.assert_close(ours.decoder_prompt[name], theirs.gen[name], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.speaker_embedding, theirs.t3.speaker_emb, rtol=1e-5, atol=1e-6)


def test_the_same_samples_are_computed_once(tiny_model):
    encoder = encoder_of(tiny_model)
    first = encoder.encode(Reference.of(recording(3.0)))
    assert encoder.encode(Reference.of(recording(3.0))) is first
    assert encoder.encode(Reference.of(recording(3.0, seed=1))) is not first


def test_the_cache_drops_the_voice_unused_for_longest(tiny_model):
    encoder = encoder_of(tiny_model, cached_voices=2)
    voices = [Reference.of(recording(2.0, seed=seed)) for seed in range(3)]
    first, second = encoder.encode(voices[0]), encoder.encode(voices[1])
    assert encoder.encode(voices[0]) is first
    encoder.encode(voices[2])
    assert encoder.encode(voices[0]) is first
    assert encoder.encode(voices[1]) is not second


def test_a_fragment_is_refused_with_its_length(tiny_model):
    with pytest.raises(ReferenceTooShort, match="0.30 s"):
        encoder_of(tiny_model).compute(recording(0.3))


def test_speaking_leaves_the_cached_voice_unchanged(engine, tiny_model):
    from speech.contract import SpeechParams

    encoder = encoder_of(tiny_model)
    conditionals = encoder.compute(recording(3.0))
    before = {
        name: value.clone() for name, value in conditionals.decoder_prompt.items() if torch.is_tensor(value)
    }
    reference = Reference.of(recording(3.0))
    engine.speak("One.", reference, SpeechParams(seed=1, exaggeration=2.0))
    cached = engine._encoder.encode(reference)
    for name, value in before.items():
        assert torch.equal(cached.decoder_prompt[name], value)
        assert cached.decoder_prompt[name].dtype == value.dtype
    assert torch.equal(cached.t3_prompt_tokens, conditionals.t3_prompt_tokens)


def test_silence_gives_finite_conditionals(tiny_model):
    conditionals = encoder_of(tiny_model).compute(Waveform(np.zeros(48_000, np.float32), 24_000))
    assert torch.isfinite(conditionals.decoder_prompt["prompt_feat"]).all()
