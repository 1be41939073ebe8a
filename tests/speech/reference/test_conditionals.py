"""Conditionals as a file: the same when they come back, and nothing else is taken for them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load, save

from speech.models.spec import CHATTERBOX
from speech.reference.conditionals import Conditionals, dummy_voice

CONDITIONING = CHATTERBOX.conditioning
DIGEST, OTHER_DIGEST = "ab" * 32, "ac" * 32
FIELDS = [field.name for field in dataclasses.fields(Conditionals)]


@pytest.fixture
def voice(our_model) -> Conditionals:
    return our_model.builtin_voice


def read(content: bytes, digest: str = DIGEST) -> Conditionals | None:
    return Conditionals.from_bytes(content, digest, CONDITIONING)


def test_they_come_back_as_they_were(voice):
    again = read(voice.to_bytes(DIGEST))
    for name in FIELDS:
        assert torch.equal(getattr(again, name), getattr(voice, name))
        assert getattr(again, name).dtype == getattr(voice, name).dtype


def test_a_mel_with_a_frame_more_than_two_for_each_token_comes_back(voice):
    odd = dataclasses.replace(voice, prompt_mel=torch.cat([voice.prompt_mel, voice.prompt_mel[:, :1]], dim=1))
    assert torch.equal(read(odd.to_bytes(DIGEST)).prompt_mel, odd.prompt_mel)


def test_views_are_written_as_what_they_show(voice):
    """A file of safetensors holds whole tensors: a view of another one must not bring that along."""
    view = dataclasses.replace(voice, prompt_mel=voice.prompt_mel.transpose(1, 2).clone().transpose(1, 2))
    assert torch.equal(read(view.to_bytes(DIGEST)).prompt_mel, voice.prompt_mel)


def test_those_of_other_samples_are_not_taken(voice):
    assert read(voice.to_bytes(DIGEST), OTHER_DIGEST) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content + b"\0",
        lambda content: b"",
        lambda content: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        lambda content: b"\xff" * 64,
        lambda content: (2**60).to_bytes(8, "little") + content[8:],
        lambda content: b"\x02\0\0\0\0\0\0\0[]",
        lambda content: b"\x02\0\0\0\0\0\0\0{}",
    ],
)
def test_what_is_no_such_file_is_not_taken(voice, spoil):
    assert read(spoil(voice.to_bytes(DIGEST))) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("t3_prompt_tokens", torch.full((1, 150), 6561)),
        ("t3_prompt_tokens", torch.full((1, 150), -1)),
        ("t3_prompt_tokens", torch.zeros(1, 151, dtype=torch.int64)),
        ("t3_prompt_tokens", torch.zeros(1, 0, dtype=torch.int64)),
        ("t3_prompt_tokens", torch.zeros(150, dtype=torch.int64)),
        ("t3_prompt_tokens", torch.zeros(2, 150, dtype=torch.int64)),
        ("t3_prompt_tokens", torch.zeros(1, 150, dtype=torch.int32)),
        ("prompt_token", torch.full((1, 250), 9_999)),
        ("prompt_token", torch.zeros(1, 249, dtype=torch.int64)),
        ("prompt_token", torch.zeros(1, 251, dtype=torch.int64)),
        ("prompt_feat", torch.full((1, 500, 80), float("nan"))),
        ("prompt_feat", torch.zeros(1, 502, 80)),
        ("prompt_feat", torch.zeros(1, 500, 81)),
        ("prompt_feat", torch.zeros(500, 80)),
        ("prompt_feat", torch.zeros(1, 500, 80, dtype=torch.float16)),
        ("embedding", torch.full((1, 192), float("inf"))),
        ("embedding", torch.zeros(1, 193)),
        ("speaker_embedding", torch.zeros(1, 255)),
        ("speaker_embedding", torch.full((1, 256), float("nan"))),
        ("digest", torch.zeros(32, dtype=torch.int32)),
        ("surprise", torch.zeros(1)),
    ],
)
def test_numbers_that_would_harm_the_model_are_not_taken(name, value):
    tensors = load(dummy_voice(CONDITIONING).to_bytes(DIGEST))
    assert read(save(tensors))
    assert read(save(tensors | {name: value})) is None


@pytest.mark.parametrize("name", ["t3_prompt_tokens", "prompt_feat", "digest"])
def test_a_file_that_lacks_a_tensor_is_not_taken(name):
    tensors = load(dummy_voice(CONDITIONING).to_bytes(DIGEST))
    del tensors[name]
    assert read(save(tensors)) is None


def test_a_model_with_another_conditioning_does_not_take_them(voice):
    shorter = dataclasses.replace(CONDITIONING, t3_prompt_tokens=100)
    assert Conditionals.from_bytes(voice.to_bytes(DIGEST), DIGEST, shorter) is None


def test_the_dummy_voice_is_as_long_as_a_voice_gets():
    voice = dummy_voice(CONDITIONING)
    assert voice.fits(CONDITIONING)
    assert voice.t3_prompt_tokens.shape == (1, 150)
    assert voice.prompt_tokens.shape == (1, 250)
    assert voice.prompt_mel.shape == (1, 500, 80)


def test_moving_to_the_device_where_they_are_copies_nothing(voice):
    assert voice.to(torch.device("cpu")) is voice
