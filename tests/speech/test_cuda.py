"""The same engine on a GPU, its steps as graphs, and none of them waiting for the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from audio.waveform import Waveform
from speech.checkpoint import Model, load_model
from speech.contract import SpeechParams
from speech.decoders import make_decoder
from speech.engine import SpeechEngine, load_engine
from speech.locate import Checkpoint
from speech.t3.batch import RunningBatch
from speech.t3.request import DecodeRequest
from speech.t3.weights import T3Weights
from speech.variants import CHATTERBOX
from tests.recordings import speech_like
from tests.speaker_contract import SpeakerContract
from tests.speech.t3.requests import USUAL, mixed_requests, request

pytestmark = pytest.mark.requires_cuda

CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def cuda_engine(smoke_checkpoint: Path) -> SpeechEngine:
    engine = load_engine("chatterbox", checkpoint_dir=smoke_checkpoint, device="cuda", precision="exact")
    engine.check()
    return engine


class TestCudaSpeaker(SpeakerContract):
    @pytest.fixture
    def speaker(self, cuda_engine) -> SpeechEngine:
        return cuda_engine


def test_every_weight_and_buffer_is_on_the_gpu(smoke_checkpoint):
    model: Model = load_model(CHATTERBOX, Checkpoint(smoke_checkpoint, None, chosen_by_name=True), CUDA)
    t3 = dataclasses.asdict(model.t3, dict_factory=lambda items: [value for _, value in items])
    assert {tensor.device.type for tensor in tensors_in(t3)} == {"cuda"}
    assert {tensor.device.type for tensor in model.token_to_wave._flow.tensors.values()} == {"cuda"}


def tensors_in(value) -> Iterator[torch.Tensor]:
    if torch.is_tensor(value):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)


def test_conditionals_equal_the_cpus(tiny_model, cuda_engine):
    waveform = Waveform(speech_like(7.0, 24_000, seed=1), 24_000)
    expected = tiny_model.reference_encoder().compute(waveform)
    found = cuda_engine.model.reference_encoder().compute(waveform)
    assert torch.equal(found.t3_prompt_tokens.cpu(), expected.t3_prompt_tokens)
    assert torch.equal(found.decoder_prompt["prompt_token"].cpu(), expected.decoder_prompt["prompt_token"])
    for name in ("prompt_feat", "embedding"):
        torch.testing.assert_close(
            found.decoder_prompt[name].cpu(), expected.decoder_prompt[name], rtol=1e-3, atol=1e-3
        )
    torch.testing.assert_close(
        found.speaker_embedding.cpu(), expected.speaker_embedding, rtol=1e-3, atol=1e-4
    )


def test_greedy_speech_is_as_long_as_the_cpus(engine, cuda_engine):
    """Samples differ: each device draws its own noise. Greedy tokens, and so the length, do not."""
    params = SpeechParams(seed=1, temperature=0.0)
    text = "The harbour was quiet, and the boats lay still."
    expected, found = engine.speak(text, None, params), cuda_engine.speak(text, None, params)
    assert found.waveform.duration_s == pytest.approx(expected.waveform.duration_s, rel=0.05)


def test_memory_of_the_gpu_does_not_grow_with_jobs(cuda_engine):
    def speak() -> int:
        cuda_engine.speak("One more sentence, as long as the last.", None, SpeechParams(seed=3))
        return torch.cuda.memory_allocated()

    speak()
    assert speak() <= speak()


@pytest.fixture(scope="module")
def cuda_t3(smoke_checkpoint) -> T3Weights:
    return load_model(CHATTERBOX, Checkpoint(smoke_checkpoint, None, chosen_by_name=True), CUDA).t3


def decode_all(weights: T3Weights, requests: list[DecodeRequest], *, graphs: bool) -> list[torch.Tensor]:
    """Joining seven steps apart, so that shapes change under way."""
    batch, found = RunningBatch(weights, 10, poll_every=4, graphs=graphs), {}
    for one in requests:
        batch.join(on_gpu(one))
        found |= {member.request.seed: decoded for member, decoded in batch.advance().items()}
    while batch.members:
        found |= {member.request.seed: decoded for member, decoded in batch.advance().items()}
    return [found[one.seed].tokens.cpu() for one in requests]


def on_gpu(request: DecodeRequest) -> DecodeRequest:
    return dataclasses.replace(
        request,
        speaker_embedding=request.speaker_embedding.to(CUDA),
        prompt_tokens=request.prompt_tokens.to(CUDA),
    )


def test_a_graph_says_what_its_steps_say(tiny_model, cuda_t3):
    requests = mixed_requests(tiny_model)
    eager = decode_all(cuda_t3, requests, graphs=False)
    for _ in range(2):  # once while graphs are captured, once from graphs alone
        for expected, found in zip(eager, decode_all(cuda_t3, requests, graphs=True), strict=True):
            assert torch.equal(found, expected)


def test_greedy_tokens_are_the_cpus(tiny_model, our_model, cuda_t3):
    greedy = dataclasses.replace(USUAL, temperature=0.0)
    one = request(tiny_model, sampling=greedy)
    (expected,) = make_decoder(our_model).decode([one])
    (found,) = decode_all(cuda_t3, [one], graphs=True)
    assert torch.equal(found, expected.tokens)


@pytest.mark.parametrize("graphs", [False, True])
def test_no_step_waits_for_the_device(tiny_model, cuda_t3, graphs):
    batch = RunningBatch(cuda_t3, 10, poll_every=1, graphs=graphs)
    for one in mixed_requests(tiny_model):
        batch.join(on_gpu(one))
    batch._step()  # captures, where there are graphs
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            batch._step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
