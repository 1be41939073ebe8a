"""Chunks that are rendered together are what each is alone."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from speech.models.dimensions import TINY
from speech.models.spec import CHATTERBOX, MEANFLOW, MEL_CHANNELS, FlowSpec
from speech.s3gen import packed, packed_flow, padding
from speech.s3gen.encoder import encode
from speech.s3gen.graphs import MAX_GRAPHS, RecentGraphs
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.packed_flow import MAX_FRAMES, PackedFlow, Shape
from speech.s3gen.padding import bucket, similar_lengths, stack_padded
from speech.s3gen.s3gen import S3Gen
from speech.s3gen.vocoder import HARMONICS, SAMPLES_A_FRAME, draw_phases, vocode, vocode_batch
from speech.s3gen.weights import WeightsView
from tests.speech.s3gen.packing import (
    CASES,
    distance,
    make_flow_inputs,
    make_requests,
    random_weights,
    solve_alone,
)

CPU = torch.device("cpu")
FLOW = CHATTERBOX.flow
UNGUIDED = FlowSpec(steps=3, guidance=0.0)
each_flow = pytest.mark.parametrize(
    "spec", [FLOW, UNGUIDED, MEANFLOW], ids=["guided", "unguided", "meanflow"]
)
FIVE = CASES["five"]
PARTS = ("encoder", "Euler step", "vocoder")  # of which a chunk alone has a graph each
FRAMES = (1, 2, 3, 47, 130, 64)


@pytest.fixture(scope="module")
def weights() -> WeightsView:
    return random_weights(TINY, CPU)


@pytest.fixture(scope="module")
def estimator(weights) -> WeightsView:
    return weights / "flow" / "decoder" / "estimator"


@pytest.fixture(scope="module")
def plain(weights) -> list[Tensor]:
    """Five chunks, one after the other."""
    return S3Gen(weights, FLOW).render(make_requests(FIVE, CPU))


def render(
    weights: WeightsView, cases: Sequence[tuple[int, int, int]], spec: FlowSpec = FLOW
) -> list[Tensor]:
    return PackedS3Gen(weights, spec, torch.float32, graphs=False).render(make_requests(cases, CPU))


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], within: float = 1e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=within)


@each_flow
@pytest.mark.parametrize("name", CASES)
def test_samples_are_those_of_each_chunk_alone(weights, name, spec):
    expected = S3Gen(weights, spec).render(make_requests(CASES[name], CPU))
    # Of one frame the pitch is rounded otherwise here, which moves the phase of all that follows.
    within = 3e-5 if spec is MEANFLOW else 1e-5
    assert_close(render(weights, CASES[name], spec), expected, within)


def test_without_batches_nothing_is_padded_and_the_samples_are_the_same(weights, plain, monkeypatch):
    """As on a CPU."""
    monkeypatch.delattr(packed, "similar_lengths")
    renderer = PackedS3Gen(weights, FLOW, torch.float32, graphs=False, in_batches=False)
    assert_close(renderer.render(make_requests(FIVE, CPU)), plain)


@pytest.mark.parametrize("spec", [FLOW, MEANFLOW], ids=["guided", "meanflow"])
def test_in_bfloat16_the_mels_differ_by_little_on_a_cpu_too(weights, spec):
    exact = S3Gen(weights, spec)
    renderer = PackedS3Gen(weights, spec, torch.bfloat16, graphs=False, in_batches=False)
    for ours, theirs in zip(make_requests(FIVE, CPU), make_requests(FIVE, CPU), strict=True):
        found, expected = renderer.mel(ours), exact.mel(theirs)
        error = float((found - expected).norm() / expected.norm())
        assert 0 < error < 0.02


@torch.inference_mode()
def test_mu_is_that_of_each_chunk_alone(weights):
    encoder = weights / "flow" / "encoder"
    lengths = (1, 2, 7, 40)
    draw = torch.Generator().manual_seed(1)
    embedded = [torch.randn(1, length, TINY.flow_width, generator=draw) for length in lengths]
    batch = torch.full((4, 48, TINY.flow_width), 9.0)  # what lies beyond a chunk does not matter
    for row, one in zip(batch, embedded, strict=True):
        row[: one.shape[1]] = one[0]
    together = encode(encoder, batch, torch.tensor(lengths))
    found = [row[: 2 * length] for row, length in zip(together, lengths, strict=True)]
    assert_close(found, [encode(encoder, one)[0] for one in embedded])


@each_flow
@pytest.mark.parametrize("lengths", [(61,), (2, 130), FRAMES])
def test_mels_are_those_of_each_chunk_alone(estimator, lengths, spec):
    inputs = make_flow_inputs(lengths, CPU)
    found = PackedFlow(estimator, spec, torch.float32).solve(inputs)
    assert_close(found, [solve_alone(estimator, one, spec) for one in inputs])


@torch.inference_mode()
def test_samples_of_a_batch_are_those_of_each_mel_alone(weights):
    """To the last sample before the padding."""
    hift, draw = weights / "mel2wav", torch.Generator().manual_seed(1)
    mels = [torch.randn(1, MEL_CHANNELS, frames, generator=draw) for frames in FRAMES]
    noises = [torch.randn(1, HARMONICS, SAMPLES_A_FRAME * frames, generator=draw) for frames in FRAMES]
    phases = [draw_phases(draw) for _ in FRAMES]
    longest = 160
    together = vocode_batch(
        hift,
        stack_padded([mel[0] for mel in mels], longest),
        torch.tensor(FRAMES),
        torch.cat(phases),
        stack_padded([noise[0] for noise in noises], SAMPLES_A_FRAME * longest),
    )
    found = [row[: SAMPLES_A_FRAME * frames] for row, frames in zip(together, FRAMES, strict=True)]
    expected = [vocode(hift, *each) for each in zip(mels, phases, noises, strict=True)]
    assert all(samples.abs().max() > 0.01 for samples in expected)
    assert_close(found, expected)


def test_rows_of_nobody_change_nothing(weights, plain, monkeypatch):
    for module in (packed_flow, padding):
        monkeypatch.setattr(module, "bucket", lambda length: bucket(length) + 37)
    assert_close(render(weights, FIVE), plain)


def test_what_does_not_fit_one_batch_is_rendered_in_several(weights, plain, monkeypatch):
    monkeypatch.setattr(packed_flow, "MAX_FRAMES", 150)
    monkeypatch.setattr(packed, "MAX_TOKEN_PAIRS", 1)
    monkeypatch.setattr(packed, "MAX_VOCODER_FRAMES", 1)
    assert_close(render(weights, FIVE), plain)


@each_flow
def test_as_many_random_numbers_are_drawn(weights, spec):
    ours, theirs = (make_requests(FIVE, CPU) for _ in range(2))
    PackedS3Gen(weights, spec, torch.float32, graphs=False).render(ours)
    S3Gen(weights, spec).render(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.generator.get_state(), other.generator.get_state())


def test_a_chunk_that_is_shorter_than_the_muted_start_is_refused_by_both(weights):
    """One token after an odd number of mel frames, which the runtime does not ask for."""
    for renderer in (S3Gen(weights, FLOW), PackedS3Gen(weights, FLOW, torch.float32, graphs=False)):
        with pytest.raises(RuntimeError, match="must match the size"):
            renderer.render(make_requests([(9, 1, 1)], CPU))


def test_buckets_are_four_an_octave():
    buckets = [bucket(length) for length in range(1, 4097)]
    assert sorted(set(buckets))[:7] == [64, 80, 96, 112, 128, 160, 192]
    assert all(length <= found <= max(1.25 * length + 1, 64) for length, found in enumerate(buckets, 1))


def test_chunks_of_similar_lengths_share_a_batch():
    lengths = [500, 40, 480, 60, 500, 300, 2000]
    batches = list(similar_lengths(lengths, lambda padded: 2048 // padded))
    assert batches == [([6], 2048), ([0, 4, 2, 5], 512), ([3, 1], 64)]


@pytest.mark.parametrize("graphs", [False, True])
def test_a_chunk_that_is_not_a_number_spoils_no_other(estimator, paper, graphs):
    """Neither the one behind it nor those of later calls."""
    one, other = make_flow_inputs((61, 130), CPU)
    damaged = replace(one, prompt_mel=torch.full_like(one.prompt_mel, torch.nan))
    flow, expected = (
        PackedFlow(estimator, FLOW, torch.float32, graphs=graphs),
        solve_alone(estimator, other, FLOW),
    )
    spoiled, beside, _ = flow.solve([damaged, other, damaged])
    (later,) = flow.solve([other])
    assert not spoiled.isfinite().any()
    assert_close([beside, later], [expected, expected])


@each_flow
def test_what_another_call_left_in_the_rows_of_a_graph_changes_nothing(estimator, paper, spec):
    flow = PackedFlow(estimator, spec, torch.float32, graphs=True)
    calls = [(61,), FRAMES, (200, 70), (61,), (2, 130), FRAMES, (1,)]
    for lengths in calls:
        inputs = make_flow_inputs(lengths, CPU)
        assert_close(flow.solve(inputs), [solve_alone(estimator, one, spec) for one in inputs])
    assert sorted(flow._graphs.captures.values()) == [1, 1, 2, 3]


def test_more_frames_than_a_graph_may_have_are_solved_without_one(estimator, paper, monkeypatch):
    monkeypatch.setattr(packed_flow, "MAX_FRAMES", 100)
    flow = PackedFlow(estimator, FLOW, torch.float32, graphs=True)
    inputs = make_flow_inputs((120, 60), CPU)
    assert_close(flow.solve(inputs), [solve_alone(estimator, one, FLOW) for one in inputs])
    assert list(flow._graphs.captures) == [Shape(64, 1, 64)]


@each_flow
def test_graphs_are_there_before_the_first_call(estimator, paper, monkeypatch, spec):
    monkeypatch.setattr(packed_flow, "CAPTURED_ALONE", (60, 80))
    monkeypatch.setattr(packed_flow, "CAPTURED_TOGETHER", (100, 160))
    monkeypatch.setattr(packed_flow, "LONGEST", 64)
    flow = PackedFlow(estimator, spec, torch.float32, graphs=True)
    flow.capture()
    captured = dict(flow._graphs.captures)
    assert len(captured) == 5
    assert [shape.frames for shape in captured] == sorted((shape.frames for shape in captured), reverse=True)
    for lengths in [(61,), (80,), (64, 64), (3, 60, 40), (61,)]:
        inputs = make_flow_inputs(lengths, CPU)
        assert_close(flow.solve(inputs), [solve_alone(estimator, one, spec) for one in inputs])
    assert flow._graphs.captures.keys() == captured.keys()


def test_few_shapes_serve_all_lengths():
    """One chunk of a word up to 30 s, and up to 16 chunks, after prompts of 5 to 10 s."""
    draw = random.Random(0)
    several = [
        [2 * draw.randint(125, 250) + 2 * draw.randint(4, 750) for _ in range(draw.randint(2, 16))]
        for _ in range(2000)
    ]
    at_start = Shape.at_start()
    assert len(at_start) == len(set(at_start)) <= MAX_GRAPHS // 2
    assert {Shape.of([frames]) for frames in range(258, 2001)} <= set(at_start)
    fitting = [lengths for lengths in several if sum(lengths) <= MAX_FRAMES]
    assert len(fitting) > 500
    assert {Shape.of(lengths) for lengths in fitting} <= set(at_start)
    for lengths in [(2049, 1), (1,) * 17, (3000,), *fitting[:100]]:
        frames, chunks, longest = Shape.of(lengths)
        assert sum(lengths) <= frames
        assert len(lengths) <= chunks
        assert max(*lengths, frames - sum(lengths)) <= longest


def test_a_call_may_have_the_first_graphs_memory(weights, captured, monkeypatch, caplog):
    """At the start a lack of memory is no reason not to start; another fault is one."""
    renderer = PackedS3Gen(weights, FLOW, torch.float32, graphs=True)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(PackedFlow, "capture", raises(torch.OutOfMemoryError("CUDA out of memory")))
        renderer.capture()
        assert "memory ran out" in caplog.text
        patched.setattr(PackedFlow, "capture", raises(RuntimeError("sizes differ")))
        with pytest.raises(RuntimeError, match="sizes differ"):
            renderer.capture()
    renderer.render(make_requests(CASES["one"], CPU))
    assert len(captured) == len(PARTS)


def attend_in_segments(queries, keys, values, bounds, longest):
    """The flash kernel on a CPU. Like it, writes no row that lies in no segment or beyond the longest."""
    attended = torch.full_like(queries, torch.nan)
    ends = bounds.tolist()
    for start, end in pairwise(ends):
        if end > start:
            part = slice(start, min(end, start + longest))
            attended[part] = F.scaled_dot_product_attention(
                *(each[start:end].transpose(0, 1) for each in (queries, keys, values))
            ).transpose(0, 1)[: part.stop - start]
    return attended


@each_flow
@pytest.mark.parametrize("lengths", [(61,), (65,), FRAMES, (300,), (60, 1)])
def test_in_bfloat16_every_row_is_in_a_segment_and_mels_are_near(estimator, monkeypatch, lengths, spec):
    monkeypatch.setattr(packed_flow, "attend_in_segments", attend_in_segments)
    inputs = make_flow_inputs(lengths, CPU)
    for one, mel in zip(inputs, PackedFlow(estimator, spec, torch.bfloat16).solve(inputs), strict=True):
        assert mel.dtype == torch.float32
        assert distance(mel, solve_alone(estimator, one, spec)) < 2e-2


class Graph:
    """What a capture gives."""

    def __init__(self, work) -> None:
        self.replay = work


@pytest.fixture
def captured(monkeypatch) -> list[object]:
    """Lets graphs be made without a GPU. Holds the work of each."""
    captured: list[object] = []
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: object())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device, priority: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(RecentGraphs, "_capture", lambda self, work: captured.append(work) or Graph(work))
    return captured


def test_the_graphs_that_were_used_last_are_kept(captured):
    graphs = RecentGraphs(CPU, max_graphs=2)
    works = {shape: (lambda: None) for shape in "abc"}
    for shape in "ababacab":
        assert graphs.replay_of(shape, works[shape]) is works[shape]
    # c takes b's place, and b then c's.
    assert captured == [works[shape] for shape in "abcb"]
    pool = graphs._pool
    graphs.clear()
    assert graphs._pool is not pool
    graphs.replay_of("a", works["a"])
    assert captured[-1] is works["a"]


@pytest.mark.parametrize(
    ("error", "drops"),
    [(torch.OutOfMemoryError("CUDA out of memory"), True), (RuntimeError("sizes differ"), False)],
)
def test_graphs_are_dropped_when_memory_runs_out(weights, captured, monkeypatch, error, drops):
    renderer = PackedS3Gen(weights, UNGUIDED, torch.float32, graphs=True)
    expected = renderer.render(make_requests(CASES["one"], CPU))
    assert len(captured) == len(PARTS)
    with monkeypatch.context() as patched:
        patched.setattr(PackedS3Gen, "_vocode", raises(error))
        with pytest.raises(type(error)):
            renderer.render(make_requests(CASES["one"], CPU))
    assert_close(renderer.render(make_requests(CASES["one"], CPU)), expected)
    assert len(captured) == (2 if drops else 1) * len(PARTS)


def raises(error: Exception):
    def fail(*arguments: object) -> None:
        raise error

    return fail
