"""S3Gen of our own says what upstream's says, draw for draw."""

from __future__ import annotations

import pytest
import torch

from speech.conditionals import some_voice
from speech.s3gen.shapes import s3gen_shapes
from speech.sizes import FULL, TINY
from speech.upstream import build_s3gen, parameters_on_meta
from speech.weight_files import S3GEN_PREFIXES


@pytest.mark.parametrize("sizes", [TINY, FULL], ids=["tiny", "full"])
def test_the_shapes_are_those_of_upstreams_module(sizes):
    with parameters_on_meta():
        state = build_s3gen(sizes).state_dict()
    expected = {
        name: tuple(tensor.shape) for name, tensor in state.items() if name.startswith(S3GEN_PREFIXES)
    }
    assert s3gen_shapes(sizes) == expected


def both(our_model, tiny_model, tokens, prompt) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    ours = our_model.token_to_wave(tokens, prompt)
    torch.manual_seed(3)
    return ours, tiny_model.token_to_wave(tokens, prompt)


@pytest.mark.parametrize("count", [1, 2, 3, 25, 400, 1000])
def test_samples_are_upstreams(our_model, tiny_model, count):
    tokens = torch.randint(0, 6561, (count,), generator=torch.Generator().manual_seed(count))
    ours, theirs = both(our_model, tiny_model, tokens, our_model.builtin_voice.decoder_prompt)
    assert ours.shape == (960 * count,)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("duration_s", [0.61, 4.0, 10.0])
def test_in_the_voice_of_a_recording_too(our_model, tiny_model, duration_s):
    """Prompts of odd lengths: the mel may have a frame more than two for each token."""
    from audio.waveform import Waveform
    from tests.recordings import speech_like

    voice = our_model.reference_encoder().compute(Waveform(speech_like(duration_s, 24_000, seed=1), 24_000))
    ours, theirs = both(our_model, tiny_model, torch.arange(60), voice.decoder_prompt)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_what_it_is_given_stays_as_it_was(our_model):
    prompt = some_voice(torch.device("cpu")).decoder_prompt
    before = {name: tensor.clone() for name, tensor in prompt.items() if tensor is not None}
    our_model.token_to_wave(torch.arange(5), prompt)
    assert all(torch.equal(prompt[name], tensor) for name, tensor in before.items())
