"""Rendering on a GPU: chunks together, the flow in bfloat16 and by CUDA graphs, and nothing that waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import Tensor

from speech.models.dimensions import FULL
from speech.models.spec import CHATTERBOX, MEANFLOW, FlowSpec
from speech.pipeline import load_synthesizer, set_arithmetic
from speech.s3gen.graphs import RecentGraphs
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.packed_flow import MAX_FRAMES, PackedFlow
from speech.s3gen.s3gen import PieceRequest, RenderRequest, S3Gen
from speech.s3gen.stream import ChunkStream
from speech.s3gen.weights import WeightsView
from speech.watermark import Watermarker
from tests.recordings import speech_like
from tests.speech.s3gen.packing import (
    CASES,
    distance,
    make_flow_inputs,
    make_requests,
    random_weights,
    solve_alone,
)
from tests.speech.speaking import PAGE, join, join_marked, speak

pytestmark = pytest.mark.requires_cuda

CUDA = torch.device("cuda")
FLOW = CHATTERBOX.flow
UNGUIDED = FlowSpec(steps=4, guidance=0.0)
FIVE = CASES["five"]
FRAMES = (500, 301, 47, 1000, 2)
NEAR = 2e-2  # of the norm of a mel spectrogram: what bfloat16 may change


@pytest.fixture(autouse=True)
def without_tf32() -> Iterator[None]:
    set_arithmetic("exact")
    yield
    set_arithmetic("exact")  # whatever a synthesizer has set


@pytest.fixture(scope="module")
def weights() -> WeightsView:
    return random_weights(FULL, CUDA)


@pytest.fixture(scope="module")
def estimator(weights) -> WeightsView:
    return weights / "flow" / "decoder" / "estimator"


@pytest.fixture(scope="module")
def flow(estimator) -> PackedFlow:
    return PackedFlow(estimator, FLOW, torch.bfloat16, graphs=True)


@pytest.fixture(scope="module")
def renderer(weights) -> PackedS3Gen:
    return PackedS3Gen(weights, FLOW)


def assert_near(found: Sequence[Tensor], expected: Sequence[Tensor], within: float) -> None:
    assert max(distance(one, other) for one, other in zip(found, expected, strict=True)) < within


@pytest.mark.parametrize("lengths", [(1000,), (61,), FRAMES])
def test_mels_in_bfloat16_are_near_those_of_each_chunk_alone(estimator, flow, lengths):
    inputs = make_flow_inputs(lengths, CUDA)
    assert_near(flow.solve(inputs), [solve_alone(estimator, one, FLOW) for one in inputs], NEAR)


@pytest.mark.parametrize("spec", [UNGUIDED, MEANFLOW], ids=["unguided", "meanflow"])
def test_without_guidance_too(estimator, spec):
    unguided = PackedFlow(estimator, spec, torch.bfloat16, graphs=True)
    inputs = make_flow_inputs(FRAMES, CUDA)
    assert_near(unguided.solve(inputs), [solve_alone(estimator, one, spec) for one in inputs], NEAR)


def test_a_mel_is_near_the_one_it_is_alone(flow):
    inputs = make_flow_inputs(FRAMES, CUDA)
    alone = [flow.solve([one])[0] for one in inputs]
    assert_near(flow.solve(inputs), alone, 1.5 * NEAR)  # each of the two is rounded


def test_in_float32_everything_is_what_each_chunk_is_alone(weights, estimator):
    """Samples may differ more than mels: a pitch that is rounded otherwise moves the phase ever further."""
    inputs = make_flow_inputs(FRAMES, CUDA)
    mels = PackedFlow(estimator, FLOW, torch.float32).solve(inputs)
    assert_near(mels, [solve_alone(estimator, one, FLOW) for one in inputs], 1e-4)
    samples = PackedS3Gen(weights, FLOW, torch.float32, graphs=False).render(make_requests(FIVE, CUDA))
    assert_near(samples, S3Gen(weights, FLOW).render(make_requests(FIVE, CUDA)), 2e-2)


@pytest.mark.parametrize("lengths", [(1000,), FRAMES])
def test_graphs_give_what_eager_steps_give(estimator, flow, lengths):
    eager = PackedFlow(estimator, FLOW, torch.bfloat16, graphs=False)
    inputs = make_flow_inputs(lengths, CUDA)
    for found, expected in zip(flow.solve(inputs), eager.solve(inputs), strict=True):
        assert torch.equal(found, expected)


def test_the_same_request_gives_the_same_samples(weights):
    """Whether its graph is captured, kept or dropped in between, and whatever came in between."""
    fresh = PackedS3Gen(weights, FLOW)

    def alone() -> Tensor:
        (samples,) = fresh.render(make_requests(CASES["one"], CUDA))
        return samples

    first = alone()
    assert torch.equal(alone(), first)
    fresh.render(make_requests(FIVE, CUDA))
    assert torch.equal(alone(), first)
    fresh._flow.drop_graphs()
    assert torch.equal(alone(), first)


def test_a_chunk_beside_others_draws_and_lasts_as_alone(renderer):
    together = make_requests(FIVE, CUDA)
    for samples, request, alone in zip(
        renderer.render(together), together, make_requests(FIVE, CUDA), strict=True
    ):
        (expected,) = renderer.render([alone])
        assert samples.shape == expected.shape
        assert torch.isfinite(samples).all()
        assert samples.norm() == pytest.approx(expected.norm(), rel=0.1)
        assert torch.equal(request.generator.get_state(), alone.generator.get_state())


def test_rendering_waits_for_nothing(renderer):
    renderer.render(make_requests(FIVE, CUDA))  # captures
    requests = make_requests(FIVE, CUDA)
    torch.cuda.set_sync_debug_mode("error")
    try:
        samples = renderer.render(requests)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(each).all() for each in samples)


def test_after_a_start_no_call_captures_a_graph(weights, monkeypatch):
    renderer = PackedS3Gen(weights, FLOW)
    renderer.capture()

    def refuse(self: RecentGraphs, work: object) -> None:
        raise AssertionError("a graph was captured by a call")

    monkeypatch.setattr(RecentGraphs, "_capture", refuse)
    inputs = [make_flow_inputs(lengths, CUDA) for lengths in ((260,), (1000,), (600, 900, 1400), (400,) * 16)]
    for each in inputs:
        assert all(torch.isfinite(mel).all() for mel in renderer._flow.solve(each))
    (request,) = make_requests([(150, 0, 120)], CUDA)
    renderer.render([request])
    for piece in pieces_of(request, ChunkStream(1, CUDA)):
        renderer.render([piece])


def test_graphs_of_encoder_and_vocoder_give_what_their_functions_give(weights):
    """Alone, together and in pieces, whatever the calls before have left in the graphs' tensors."""
    renderer, eager = PackedS3Gen(weights, FLOW), PackedS3Gen(weights, FLOW)
    eager._run_encoder = eager._encode_batch
    eager._run_vocoder = renderer._run_vocoder._function
    eager._run_windows = renderer._run_windows._function
    for cases in (CASES["one"], FIVE, CASES["one"], FIVE):
        found, expected = (each.render(make_requests(cases, CUDA)) for each in (renderer, eager))
        for samples, plain in zip(found, expected, strict=True):
            torch.testing.assert_close(samples, plain, rtol=0, atol=1e-5)
    streams = ChunkStream(1, CUDA), ChunkStream(1, CUDA)
    ours, theirs = (pieces_of(make_requests(CASES["two"], CUDA)[1], stream) for stream in streams)
    for one, other in zip(ours, theirs, strict=True):
        (samples,), (plain,) = renderer.render([one]), eager.render([other])
        torch.testing.assert_close(samples, plain, rtol=0, atol=1e-5)


def test_with_exact_chunks_are_rendered_one_after_the_other(weights):
    renderer = PackedS3Gen(weights, FLOW, torch.float32, graphs=False, together=False)
    together = renderer.render(make_requests(FIVE, CUDA))
    for samples, request in zip(together, make_requests(FIVE, CUDA), strict=True):
        assert torch.equal(samples, renderer.render([request])[0])


def pieces_of(request: RenderRequest, stream: ChunkStream) -> list[PieceRequest]:
    ends = (*(end for end in (15, 40, 90) if end < len(request.tokens)), len(request.tokens))
    return [
        PieceRequest(request.tokens[:end], request.voice, stream, end == len(request.tokens)) for end in ends
    ]


def test_pieces_beside_others_are_those_they_are_alone_and_wait_for_nothing(renderer):
    def stream() -> list[PieceRequest]:
        return pieces_of(make_requests(CASES["one"], CUDA)[0], ChunkStream(1, CUDA))

    alone = [renderer.render([piece])[0] for piece in stream()]
    for attempt in range(2):  # at first graphs are captured
        pieces, others = stream(), [make_requests(FIVE, CUDA) for _ in range(3)]
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if attempt else "default")
        try:
            found = [
                renderer.render([*other, piece])[-1] for piece, other in zip(pieces, others, strict=False)
            ]
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(torch.cat(found)) == len(torch.cat(alone))
    for one, other in zip(found, alone, strict=True):
        assert one.norm() == pytest.approx(other.norm(), rel=0.1)


def test_pieces_in_float32_are_the_references(weights):
    (request,) = make_requests(CASES["one"], CUDA)
    renderers = S3Gen(weights, FLOW), PackedS3Gen(weights, FLOW, torch.float32, graphs=False)
    ours, theirs = (
        torch.cat([renderer.render([piece])[0] for piece in pieces_of(request, ChunkStream(1, CUDA))])
        for renderer in renderers
    )
    assert_near([ours], [theirs], 2e-2)


def test_the_watermark_of_the_gpu_is_the_cpus():
    samples = speech_like(3.0, 24_000, seed=2)
    expected = Watermarker().mark(samples, 24_000)
    np.testing.assert_allclose(Watermarker(CUDA).mark(samples, 24_000), expected, atol=1e-5)


def test_the_watermark_waits_for_nothing():
    watermarker, audio_32k = Watermarker(CUDA), torch.from_numpy(speech_like(3.0, 32_000, seed=2))
    watermarker._embed(audio_32k, 0.0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        watermarker._embed(audio_32k, 0.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_streams_at_once_are_about_as_long_as_each_alone(smoke_checkpoint):
    loaded = load_synthesizer("chatterbox", checkpoint_dir=smoke_checkpoint, device="cuda", max_concurrency=4)
    with closing(loaded) as synthesizer, ThreadPoolExecutor(4) as pool:

        def stream(seed: int) -> np.ndarray:
            return join_marked(synthesizer, speak(synthesizer, PAGE[:300], seed=seed, hop="stream"))

        alone = [len(stream(seed)) for seed in range(4)]
        for marked, length in zip(pool.map(stream, range(4)), alone, strict=True):
            assert np.isfinite(marked).all()
            assert len(marked) == pytest.approx(length, rel=0.5)  # bfloat16 may draw another reading


def test_a_chunk_beyond_the_limit_and_many_chunks_are_rendered(flow):
    lengths = (MAX_FRAMES + 100, *range(900, 1900, 100))
    mels = flow.solve(make_flow_inputs(lengths, CUDA))
    assert [mel.shape for mel in mels] == [(frames, 80) for frames in lengths]
    assert all(torch.isfinite(mel).all() for mel in mels)


def test_lengths_without_end_take_memory_with_an_end(estimator):
    flow = PackedFlow(estimator, FLOW, torch.bfloat16, graphs=True)
    flow._graphs = RecentGraphs(CUDA, max_graphs=8)

    def reserved_after(lengths: Sequence[tuple[int, ...]]) -> int:
        for each in lengths:
            flow.solve(make_flow_inputs(each, CUDA))
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    lengths = [(frames,) for frames in range(70, 2500, 110)] + [
        (900, frames) for frames in range(100, 900, 110)
    ]
    first = reserved_after(lengths)
    assert len(flow._graphs._graphs) == 8
    assert reserved_after(lengths[::-1] + lengths) <= 1.1 * first
    flow.drop_graphs()
    assert reserved_after([]) < first


def test_jobs_at_once_with_the_precision_of_a_worker(smoke_checkpoint):
    """T3's graphs and S3Gen's are captured in turns, and replayed beside each other."""
    loaded = load_synthesizer(
        "chatterbox", checkpoint_dir=smoke_checkpoint, device="cuda", precision="auto", max_concurrency=4
    )
    with closing(loaded) as synthesizer, ThreadPoolExecutor(4) as pool:
        assert isinstance(synthesizer._model.s3gen, PackedS3Gen)
        texts = [PAGE[start : start + 600] for start in (0, 600, 1200, 1800)]
        for _ in range(2):
            for chunks in pool.map(lambda job: speak(synthesizer, texts[job], seed=job), range(4)):
                assert len(chunks) > 1
                assert np.isfinite(join(chunks)).all()
        _, alone, again = (join(speak(synthesizer, "One sentence.", seed=5)) for _ in range(3))
        assert np.array_equal(alone, again)
