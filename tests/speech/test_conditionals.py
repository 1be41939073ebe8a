"""A voice's conditionals equal upstream's, come from the cache the second time, and stay unchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from audio.waveform import Waveform
from benchmarks.upstream import load as load_upstream
from errors import ReferenceTooShort
from speech.conditionals import Conditionals, VoiceConditionals, some_voice
from speech.contract import Reference
from tests.recordings import speech_like
from tests.speech.upstream import upstream_conditionals


def voices_of(model, **options) -> VoiceConditionals:
    return VoiceConditionals(model.reference_encoder, "chatterbox-0123", model.device, **options)


def recording(duration_s: float, seed: int = 0) -> Waveform:
    return Waveform(speech_like(duration_s, 24_000, seed=seed), 24_000)


@pytest.mark.parametrize("duration_s", [0.6, 3.0, 5.99, 7.3701, 10.0, 12.5, 31.0])
def test_equal_to_upstream(our_model, smoke_checkpoint, tmp_path, duration_s):
    waveform = recording(duration_s)
    theirs = upstream_conditionals(load_upstream(smoke_checkpoint), waveform.samples, tmp_path)
    ours = our_model.reference_encoder().compute(waveform)

    assert torch.equal(ours.t3_prompt_tokens, theirs.t3.cond_prompt_speech_tokens)
    assert torch.equal(ours.decoder_prompt["prompt_token"], theirs.gen["prompt_token"])
    assert torch.equal(ours.decoder_prompt["prompt_token_len"], theirs.gen["prompt_token_len"])
    assert ours.decoder_prompt.keys() == theirs.gen.keys()
    for name in ("prompt_feat", "embedding"):
        torch.testing.assert_close(ours.decoder_prompt[name], theirs.gen[name], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.speaker_embedding, theirs.t3.speaker_emb, rtol=1e-5, atol=1e-6)


def test_the_same_samples_are_computed_once(our_model):
    voices = voices_of(our_model)
    first = voices.get(Reference.of(recording(3.0)))
    assert voices.get(Reference.of(recording(3.0))) is first
    assert voices.get(Reference.of(recording(3.0, seed=1))) is not first


def test_the_cache_drops_the_voice_unused_for_longest(our_model):
    voices = voices_of(our_model, cached_voices=2)
    references = [Reference.of(recording(2.0, seed=seed)) for seed in range(3)]
    first, second = voices.get(references[0]), voices.get(references[1])
    assert voices.get(references[0]) is first
    voices.get(references[2])
    assert voices.get(references[0]) is first
    assert voices.get(references[1]) is not second


def test_a_fragment_is_refused_with_its_length(our_model):
    with pytest.raises(ReferenceTooShort, match="0.30 s"):
        our_model.reference_encoder().compute(recording(0.3))


def test_speaking_leaves_the_cached_voice_unchanged(engine, our_model):
    from speech.contract import SpeechParams

    voices = voices_of(our_model)
    conditionals = voices.compute(recording(3.0))
    before = {
        name: value.clone() for name, value in conditionals.decoder_prompt.items() if torch.is_tensor(value)
    }
    reference = Reference.of(recording(3.0))
    engine.speak("One.", reference, SpeechParams(seed=1, exaggeration=2.0))
    cached = engine._voices.get(reference)
    for name, value in before.items():
        assert torch.equal(cached.decoder_prompt[name], value)
        assert cached.decoder_prompt[name].dtype == value.dtype
    assert torch.equal(cached.t3_prompt_tokens, conditionals.t3_prompt_tokens)


def test_silence_gives_finite_conditionals(our_model):
    conditionals = our_model.reference_encoder().compute(Waveform(np.zeros(48_000, np.float32), 24_000))
    assert torch.isfinite(conditionals.decoder_prompt["prompt_feat"]).all()


class Kept(dict):
    """A shelf in memory."""

    def read(self, key: str) -> bytes | None:
        return self.get(key)

    def write(self, key: str, content: bytes) -> None:
        self[key] = content


class NoEncoder:
    def __call__(self):
        raise AssertionError("it was known what the voice is like")


def equal(ours: Conditionals, others: Conditionals) -> bool:
    mine, theirs = ({**vars(one), **one.decoder_prompt} for one in (ours, others))
    names = [name for name, value in mine.items() if torch.is_tensor(value)]
    return len(names) == 6 and all(torch.equal(mine[name], theirs[name]) for name in names)


@pytest.fixture
def shelved(our_model) -> tuple[Reference, Conditionals]:
    reference = replace(Reference.of(recording(7.3)), shelf=Kept())
    return reference, voices_of(our_model).get(reference)


def test_the_next_worker_takes_them_from_beside_the_voice(our_model, shelved):
    reference, first = shelved
    again = VoiceConditionals(NoEncoder(), "chatterbox-0123", our_model.device).get(reference)
    assert equal(again, first)


def test_other_weights_make_their_own(our_model, shelved):
    reference, _ = shelved
    with pytest.raises(AssertionError):
        VoiceConditionals(NoEncoder(), "chatterbox-4567", our_model.device).get(reference)
    VoiceConditionals(our_model.reference_encoder, "chatterbox-4567", our_model.device).get(reference)
    assert reference.shelf.keys() == {"chatterbox-0123", "chatterbox-4567"}


def test_those_of_other_audio_are_made_anew(our_model, shelved):
    reference, _ = shelved
    other = replace(Reference.of(recording(4.0)), shelf=reference.shelf)
    found = voices_of(our_model).get(other)
    assert equal(found, voices_of(our_model).compute(other.waveform))
    assert equal(voices_of(our_model).get(replace(other)), found)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        lambda content: b"\xff" * 64,
        lambda content: (2**60).to_bytes(8, "little") + content[8:],
    ],
)
def test_what_is_not_ours_is_made_anew(our_model, shelved, spoil):
    reference, first = shelved
    reference.shelf["chatterbox-0123"] = spoil(reference.shelf["chatterbox-0123"])
    assert equal(voices_of(our_model).get(reference), first)
    assert Conditionals.from_bytes(reference.shelf["chatterbox-0123"], reference.digest, our_model.device)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("t3_prompt_tokens", torch.full((1, 150), 6561)),
        ("t3_prompt_tokens", torch.full((1, 150), -1)),
        ("t3_prompt_tokens", torch.zeros(1, 151, dtype=torch.int64)),
        ("t3_prompt_tokens", torch.zeros(1, 0, dtype=torch.int64)),
        ("t3_prompt_tokens", torch.zeros(150, dtype=torch.int64)),
        ("t3_prompt_tokens", torch.zeros(1, 150, dtype=torch.int32)),
        ("prompt_token", torch.full((1, 250), 9_999)),
        ("prompt_feat", torch.full((1, 500, 80), float("nan"))),
        ("prompt_feat", torch.zeros(1, 502, 80)),
        ("embedding", torch.full((1, 192), float("inf"))),
        ("speaker_embedding", torch.zeros(1, 255)),
        ("surprise", torch.zeros(1)),
    ],
)
def test_numbers_that_would_harm_the_model_are_not_taken(name, value):
    digest = "ab" * 32
    tensors = load(some_voice(torch.device("cpu")).to_bytes(digest))
    assert Conditionals.from_bytes(save(tensors), digest, torch.device("cpu"))
    assert Conditionals.from_bytes(save(tensors | {name: value}), digest, torch.device("cpu")) is None
