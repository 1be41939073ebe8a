"""The same engine on a GPU: its steps as graphs, none of them waiting for the host, and jobs side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cancel import CancelToken
from speech.contract import AudioChunk
from speech.models.llama_t3 import LlamaT3
from speech.models.spec import CHATTERBOX
from speech.pipeline import ChatterboxSynthesizer, load_synthesizer, make_batch
from speech.runtime import DeviceRuntime
from speech.s3gen.weights import WeightsView
from speech.t3.batch import RunningBatch
from speech.t3.request import DecodeRequest
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model
from tests.speech.runtimes import TokensAsSamples, chunk, one_model
from tests.speech.speaking import PAGE, encode, join, join_marked, speak
from tests.speech.t3.requests import USUAL, decode_all, mixed_requests, request
from tests.synthesizer_contract import SynthesizerContract

pytestmark = pytest.mark.requires_cuda

CUDA = torch.device("cuda")
LONG_TEXT = PAGE[:1100]


def load_on_cuda(checkpoint: Path, **options) -> ChatterboxSynthesizer:
    options = {"device": "cuda", "precision": "exact"} | options
    return load_synthesizer("chatterbox", checkpoint_dir=checkpoint, **options)


@pytest.fixture(scope="module")
def cuda_synthesizer(smoke_checkpoint: Path) -> Iterator[ChatterboxSynthesizer]:
    with closing(load_on_cuda(smoke_checkpoint, max_concurrency=4)) as synthesizer:
        synthesizer.check()
        yield synthesizer


@pytest.fixture(scope="module")
def cuda_model(smoke_checkpoint) -> Model:
    return load_model(CHATTERBOX, Checkpoint(smoke_checkpoint, None, may_be_unpublished=True), CUDA)


class TestCudaSynthesizer(SynthesizerContract):
    @pytest.fixture
    def synthesizer(self, cuda_synthesizer) -> ChatterboxSynthesizer:
        return cuda_synthesizer


def test_every_weight_and_buffer_is_on_the_gpu(cuda_model):
    assert {tensor.device.type for tensor in tensors_in(cuda_model.t3.weights)} == {"cuda"}
    s3gen = vars(cuda_model.s3gen)
    views = [value for value in s3gen.values() if isinstance(value, WeightsView)]
    tensors = [tensor for view in views for tensor in tensors_below(view)]
    tensors += [value for value in s3gen.values() if torch.is_tensor(value)]
    assert len(tensors) > 100
    assert {tensor.device.type for tensor in tensors} == {"cuda"}


def tensors_in(value: object) -> Iterator[Tensor]:
    if torch.is_tensor(value):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from tensors_in(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))


def tensors_below(view: WeightsView) -> Iterator[Tensor]:
    yield from view._tensors.values()
    for below in view._below.values():
        yield from tensors_below(below)


def test_conditionals_equal_the_cpus_and_come_to_the_cpu(synthesizer, cuda_synthesizer):
    expected, found = (encode(each, 1, 7.0) for each in (synthesizer, cuda_synthesizer))
    assert torch.equal(found.t3_prompt_tokens, expected.t3_prompt_tokens)
    assert torch.equal(found.prompt_tokens, expected.prompt_tokens)
    for name in ("prompt_mel", "xvector"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.speaker_embedding, expected.speaker_embedding, rtol=1e-3, atol=1e-4)


def test_greedy_speech_is_as_long_as_the_cpus(synthesizer, cuda_synthesizer):
    """Samples differ: each device draws its own noise. Greedy tokens, and so the length, do not."""
    expected, found = (speak(each, temperature=0.0)[0] for each in (synthesizer, cuda_synthesizer))
    assert found.duration_s == pytest.approx(expected.duration_s, rel=0.05)


def test_memory_of_the_gpu_does_not_grow_with_jobs(cuda_synthesizer):
    def allocated() -> int:
        speak(cuda_synthesizer, "One more sentence, as long as the last.", seed=3)
        # Asked in the owner's thread, which has let go of the job by then.
        return cuda_synthesizer._runtime.run(torch.cuda.memory_allocated)

    allocated()
    before = allocated()
    assert max(allocated() for _ in range(3)) <= before


def join_steps_apart(t3: LlamaT3, requests: Sequence[DecodeRequest], *, graphs: bool) -> list[Tensor]:
    """Adds the requests four steps apart, so that shapes change under way."""
    batch = RunningBatch(t3, 10, poll_every=4, graphs=graphs)
    return [decoded.tokens.cpu() for decoded in decode_all(batch, requests, steps_apart=1)]


def test_a_graph_says_what_its_steps_say(our_model, cuda_model):
    requests = mixed_requests(our_model)
    eager = join_steps_apart(cuda_model.t3, requests, graphs=False)
    for _ in range(2):  # a batch captures its own graphs as its shapes come
        for expected, found in zip(
            eager, join_steps_apart(cuda_model.t3, requests, graphs=True), strict=True
        ):
            assert torch.equal(found, expected)


def test_graphs_alone_say_what_they_said_while_they_were_captured(our_model, cuda_model):
    batch = RunningBatch(cuda_model.t3, 10, poll_every=4, graphs=True)
    first, again = (decode_all(batch, mixed_requests(our_model), steps_apart=1) for _ in range(2))
    for expected, found in zip(first, again, strict=True):
        assert torch.equal(found.tokens, expected.tokens)


def test_greedy_tokens_are_the_cpus(our_model, cuda_model):
    one = request(our_model, sampling=dataclasses.replace(USUAL, temperature=0.0))
    (expected,) = decode_all(make_batch(our_model), [one])
    (found,) = join_steps_apart(cuda_model.t3, [one], graphs=True)
    assert torch.equal(found, expected.tokens)


def test_a_generator_is_left_after_the_last_draw_however_often_the_device_is_asked(our_model, cuda_model):
    """What is drawn past the end of a sequence is taken back: S3Gen goes on with its generator."""
    one = mixed_requests(our_model)
    every_step, every_eight = (
        decode_all(RunningBatch(cuda_model.t3, 10, poll_every=poll_every, graphs=False), one)
        for poll_every in (1, 8)
    )
    for expected, found in zip(every_step, every_eight, strict=True):
        assert torch.equal(found.tokens, expected.tokens)
        assert torch.equal(found.generator.get_state(), expected.generator.get_state())


@pytest.mark.parametrize("graphs", [False, True])
def test_no_step_waits_for_the_device(our_model, cuda_model, graphs):
    batch = RunningBatch(cuda_model.t3, 10, poll_every=1, graphs=graphs)
    for one in mixed_requests(our_model):
        batch.add(one)
    with torch.inference_mode():
        batch._step()  # captures, where there are graphs
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            batch._step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("params", [{"top_p": 0.9}, {"cfg_weight": 0.0}, {"top_p": 0.9, "cfg_weight": 0.0}])
def test_shapes_that_the_start_did_not_capture_are_captured_while_chunks_render(smoke_checkpoint, params):
    """The first job of a worker, with several chunks: graphs are captured between two of them."""
    with closing(load_on_cuda(smoke_checkpoint)) as fresh:
        first = speak(fresh, LONG_TEXT, seed=1, **params)
        again = speak(fresh, LONG_TEXT, seed=1, **params)
        assert len(first) > 3
        assert not any(each.warnings for each in first)
        samples = join_marked(fresh, first)
        assert np.isfinite(samples).all()
        assert len(LONG_TEXT) / (len(samples) / 24_000) == pytest.approx(15, rel=0.25)
        assert [len(each.waveform.samples) for each in again] == [
            len(each.waveform.samples) for each in first
        ]


def test_new_voices_and_shapes_beside_a_job_that_speaks(smoke_checkpoint):
    """The reference encoder, captures and rendering meet on one device, from four threads."""
    with closing(load_on_cuda(smoke_checkpoint, max_concurrency=4)) as fresh, ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(speak, fresh, LONG_TEXT, seed=1),
            pool.submit(speak, fresh, LONG_TEXT, seed=2, top_p=0.9),
            pool.submit(lambda: speak(fresh, LONG_TEXT, encode(fresh, 1), seed=3, cfg_weight=0.0)),
            pool.submit(lambda: [encode(fresh, seed) for seed in range(3)]),
        ]
        for job in jobs[:3]:
            chunks = job.result()
            assert np.isfinite(join(chunks)).all()
            assert not any(each.warnings for each in chunks)
        assert len(jobs[3].result()) == 3


def test_the_tokens_of_four_jobs_at_once_are_those_of_each_alone(our_model, cuda_model):
    """In float32. The number of rows changes rounding on a GPU, which the tiny model's draws survive."""
    renderer = TokensAsSamples()
    texts = [f"This is job number {number}, and it has something of its own to say." for number in range(4)]
    chunks = [
        [chunk(our_model, f"{text} {part}", seed=10 * number + part) for part in range(3)]
        for number, text in enumerate(texts)
    ]
    runtime = DeviceRuntime(CUDA, one_model(lambda: make_batch(cuda_model, 4), renderer), max_jobs=4)

    def tokens_of(job: int) -> list[list[float]]:
        return [each.samples.tolist() for each in runtime.speak(chunks[job], CancelToken())]

    with closing(runtime), ThreadPoolExecutor(4) as pool:
        alone = [tokens_of(job) for job in range(4)]
        for _ in range(2):
            assert list(pool.map(tokens_of, range(4))) == alone


def test_four_jobs_at_once_sound_as_long_as_alone(cuda_synthesizer):
    texts = [PAGE[start : start + 600] for start in (0, 600, 1200, 1800)]

    def lengths_of(job: int) -> list[int]:
        return lengths(speak(cuda_synthesizer, texts[job], seed=job))

    alone = [lengths_of(job) for job in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lengths_of, range(4))) == alone


def lengths(chunks: Sequence[AudioChunk]) -> list[int]:
    return [len(each.waveform.samples) for each in chunks]
