"""Speech tokens equal upstream's."""

from __future__ import annotations

import pytest
import torch

from speech.models.dimensions import FULL, TINY
from speech.reference.shapes import tokenizer_shapes
from speech.reference.spectra import tokenizer_mel
from speech.reference.speech_tokenizer import tokenize
from speech.upstream import COMPUTED_BUFFERS, build_speech_tokenizer, without_storage
from tests.speech.reference.recordings import NAMES, SILENCE, at_16k

CASES = [*((NAMES[0], duration_s) for duration_s in (0.5, 0.501, 1.0, 6.0, 10.003, 29.99)), (SILENCE, 6.0)]


def tokens_of(networks, *recordings: torch.Tensor) -> list[torch.Tensor]:
    return tokenize(networks.tokenizer, [tokenizer_mel(samples) for samples in recordings])


def upstream_tokens(networks, samples: torch.Tensor) -> torch.Tensor:
    return networks.s3gen.tokenizer([samples])[0][0]


def samples_of(name: str, duration_s: float) -> torch.Tensor:
    return torch.from_numpy(at_16k(name, duration_s))


@pytest.mark.parametrize(("name", "duration_s"), CASES)
def test_tokens_of_any_length_are_upstreams(networks, name, duration_s):
    samples = samples_of(name, duration_s)
    (tokens,) = tokens_of(networks, samples)
    assert tokens.dtype == torch.int64
    assert torch.equal(tokens, upstream_tokens(networks, samples))


@pytest.mark.parametrize("name", NAMES)
def test_tokens_of_any_voice_are_upstreams(networks, name):
    samples = samples_of(name, 4.0)
    (tokens,) = tokens_of(networks, samples)
    assert torch.equal(tokens, upstream_tokens(networks, samples))
    assert len(tokens.unique()) > 20  # else a test of their equality says little


def test_recordings_of_a_batch_get_the_tokens_that_they_get_alone(networks):
    durations_s = (0.5, 6.0, 10.003, 0.501, 1.0)
    batch = [samples_of(name, duration) for name, duration in zip(NAMES, durations_s, strict=True)]
    for tokens, samples in zip(tokens_of(networks, *batch), batch, strict=True):
        assert torch.equal(tokens, upstream_tokens(networks, samples))


@pytest.mark.parametrize("frames", range(1, 10))
def test_the_first_frames_alone_are_as_many_tokens_as_upstreams(networks, frames):
    mel = tokenizer_mel(samples_of(NAMES[0], 1.0))[:, :frames]
    (tokens,) = tokenize(networks.tokenizer, [mel])
    expected, _ = networks.s3gen.tokenizer.quantize(mel[None], torch.tensor([frames]))
    assert torch.equal(tokens, expected[0].long())


@pytest.mark.parametrize("dimensions", [TINY, FULL], ids=["tiny", "full"])
def test_shapes_are_upstreams(dimensions):
    with without_storage():
        state = build_speech_tokenizer(dimensions).state_dict()
    tables = {name.removeprefix("tokenizer.") for name in COMPUTED_BUFFERS}
    assert tokenizer_shapes(dimensions) == {
        name: tuple(tensor.shape) for name, tensor in state.items() if name not in tables
    }
