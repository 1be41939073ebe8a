"""S3Gen of our own gives upstream's samples, draw for draw."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from audio.waveform import Waveform
from cancel import CancelToken
from speech.models.dimensions import FULL, TINY
from speech.models.spec import CHATTERBOX, MEANFLOW
from speech.reference.conditionals import Conditionals, dummy_voice
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.s3gen import Renderer, RenderRequest
from speech.s3gen.shapes import s3gen_shapes
from speech.upstream import build_s3gen
from speech.weights.files import S3GEN_PREFIXES
from speech.weights.modules import parameters_on_meta
from tests.recordings import speech_like
from tests.speech.s3gen.packing import EIGHT, make_requests, read_s3gen

TOKENS = torch.arange(60)


@pytest.mark.parametrize("flow", [CHATTERBOX.flow, MEANFLOW], ids=["standard", "meanflow"])
@pytest.mark.parametrize("dimensions", [TINY, FULL], ids=["tiny", "full"])
def test_the_shapes_are_those_of_upstreams_module(dimensions, flow):
    with parameters_on_meta():
        state = build_s3gen(dimensions, flow).state_dict()
    expected = {
        name: tuple(tensor.shape) for name, tensor in state.items() if name.startswith(S3GEN_PREFIXES)
    }
    assert s3gen_shapes(dimensions, flow) == expected


def request(tokens: torch.Tensor, voice: Conditionals, seed: int = 3) -> RenderRequest:
    return RenderRequest(tokens, voice, torch.Generator().manual_seed(seed))


def render(renderer: Renderer, *requests: RenderRequest) -> torch.Tensor:
    (samples,) = renderer.render(requests)
    return samples


@pytest.mark.parametrize("count", [1, 2, 3, 25, 400, 1000])
def test_samples_are_upstreams(our_model, upstream_model, count):
    tokens = torch.randint(0, 6561, (count,), generator=torch.Generator().manual_seed(count))
    ours, theirs = (request(tokens, our_model.builtin_voice) for _ in range(2))
    samples = render(our_model.s3gen, ours)
    assert samples.shape == (960 * count,)
    torch.testing.assert_close(samples, render(upstream_model.s3gen, theirs), rtol=0, atol=2e-6)


@pytest.mark.parametrize("duration_s", [0.61, 4.0, 10.0])
def test_in_the_voice_of_a_recording_too(our_model, upstream_model, synthesizer, duration_s):
    """Prompts of odd lengths: the mel may have a frame more than two for each token."""
    recording = Waveform(speech_like(duration_s, 24_000, seed=1), 24_000)
    voice = synthesizer.encode_reference(recording, CancelToken())
    ours = render(our_model.s3gen, request(TOKENS, voice))
    theirs = render(upstream_model.s3gen, request(TOKENS, voice))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_several_requests_give_what_each_gives_alone(our_model):
    voices = (our_model.builtin_voice, dummy_voice(CHATTERBOX.conditioning), our_model.builtin_voice)
    pieces = (TOKENS, TOKENS[:7], TOKENS[:33])

    def requests() -> list[RenderRequest]:
        return [
            request(tokens, voice, seed)
            for seed, (tokens, voice) in enumerate(zip(pieces, voices, strict=True))
        ]

    together = our_model.s3gen.render(requests())
    for samples, one in zip(together, requests(), strict=True):
        assert torch.equal(samples, render(our_model.s3gen, one))


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("in_batches", [False, True], ids=["alone", "in batches"])
def test_chunks_of_any_length_and_voice_are_upstreams(checkpoint, upstream_model, count, in_batches):
    weights, cpu = read_s3gen(checkpoint.folder, TINY), torch.device("cpu")
    ours = PackedS3Gen(weights, CHATTERBOX.flow, torch.float32, graphs=False, in_batches=in_batches)
    expected = upstream_model.s3gen.render(make_requests(EIGHT[:count], cpu))
    for samples, theirs in zip(ours.render(make_requests(EIGHT[:count], cpu)), expected, strict=True):
        torch.testing.assert_close(samples, theirs, rtol=0, atol=5e-6)


@pytest.mark.parametrize("which", ["ours", "upstream"])
def test_no_global_random_number_is_drawn_or_matters(our_model, upstream_model, which):
    renderer = {"ours": our_model, "upstream": upstream_model}[which].s3gen
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    first = render(renderer, request(TOKENS[:5], our_model.builtin_voice))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(render(renderer, request(TOKENS[:5], our_model.builtin_voice)), first)


def test_the_voice_stays_as_it_was(our_model):
    voice = dummy_voice(CHATTERBOX.conditioning)
    names = [field.name for field in dataclasses.fields(voice)]
    before = {name: getattr(voice, name).clone() for name in names}
    render(our_model.s3gen, request(TOKENS[:5], voice))
    assert all(torch.equal(getattr(voice, name), tensor) for name, tensor in before.items())
