"""Encoder and vocoder as CUDA graphs, on paper: what a graph reads and writes, and when one is made."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from speech.models.dimensions import TINY
from speech.models.spec import CHATTERBOX, MEANFLOW, FlowSpec
from speech.s3gen import graphed_batches, packed
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.s3gen import PieceRequest, S3Gen
from speech.s3gen.stream import ChunkStream
from speech.s3gen.weights import WeightsView
from tests.speech.s3gen.packing import CASES, EIGHT, make_requests, random_weights

CPU = torch.device("cpu")
FLOW = CHATTERBOX.flow

pytestmark = pytest.mark.usefixtures("paper")


@pytest.fixture(scope="module")
def weights() -> WeightsView:
    return random_weights(TINY, CPU)


def with_graphs(weights: WeightsView, spec: FlowSpec = FLOW) -> PackedS3Gen:
    return PackedS3Gen(weights, spec, torch.float32, graphs=True)


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=3e-5)


@pytest.mark.parametrize("spec", [FLOW, MEANFLOW], ids=["guided", "meanflow"])
def test_what_other_calls_left_in_a_graphs_tensors_changes_nothing(weights, spec):
    """Calls with one and several chunks, each twice, of lengths that share their tensors."""
    renderer, plain = with_graphs(weights, spec), S3Gen(weights, spec)
    calls = [CASES["one"], EIGHT, CASES["two"], CASES["one"], CASES["five"], EIGHT]
    results = [renderer.render(make_requests(cases, CPU)) for cases in calls]
    for cases, samples in zip(calls, results, strict=True):  # none was overwritten by a later call
        assert_close(samples, plain.render(make_requests(cases, CPU)))


def test_pieces_are_those_without_graphs(weights):
    def pieces(renderer: PackedS3Gen) -> list[Tensor]:
        samples = []
        for case in (EIGHT[3], EIGHT[6]):
            (request,) = make_requests([case], CPU)
            stream, last = ChunkStream(1, CPU), len(request.tokens)
            for end in sorted({15, 40, last}):
                piece = PieceRequest(request.tokens[:end], request.voice, stream, end == last)
                samples += renderer.render([*make_requests(CASES["two"], CPU), piece])
        return samples

    assert_close(
        pieces(with_graphs(weights)), pieces(PackedS3Gen(weights, FLOW, torch.float32, graphs=False))
    )


def test_after_a_start_a_chunk_and_its_pieces_need_no_new_graph(weights, monkeypatch):
    monkeypatch.setattr(packed.PackedFlow, "capture", lambda flow: None)
    monkeypatch.setattr(packed, "CAPTURED_TOKENS", (30, 100))
    monkeypatch.setattr(packed, "CAPTURED_FRAMES", (1, 200))
    monkeypatch.setattr(packed, "LONGEST_PIECE", 128)
    renderer = with_graphs(weights)
    renderer.capture()
    captures = renderer._flow.graphs.captures
    ours = {shape for shape in captures if isinstance(shape[0], graphed_batches.GraphedBatches)}
    assert len(ours) == 4 + 8 + 5
    for case in CASES["five"][:1] + CASES["two"]:
        (request,) = make_requests([case], CPU)
        stream = ChunkStream(0, CPU)
        renderer.render([request])
        for end in sorted({min(15, len(request.tokens)), len(request.tokens)}):
            last = end == len(request.tokens)
            renderer.render([PieceRequest(request.tokens[:end], request.voice, stream, last)])
    assert ours == {shape for shape in captures if isinstance(shape[0], graphed_batches.GraphedBatches)}


def test_batches_beyond_the_room_are_computed_without_a_graph(weights, monkeypatch):
    monkeypatch.setattr(graphed_batches, "MAX_TOKENS", 60)
    monkeypatch.setattr(graphed_batches, "MAX_ROWS", 2)
    renderer = with_graphs(weights)
    expected = S3Gen(weights, FLOW).render(make_requests(EIGHT, CPU))
    assert_close(renderer.render(make_requests(EIGHT, CPU)), expected)
    batches = [str(shape[0]) for shape in renderer._flow.graphs.captures]
    assert "vocoder" in batches
    assert "encoder" not in batches


def test_another_vocoder_has_graphs_of_its_own(weights):
    one, other_weights = with_graphs(weights), random_weights(TINY, CPU).mapped(lambda tensor: tensor * 0.9)
    other = one.with_vocoder(other_weights / "mel2wav")
    (first,), (second,) = (each.render(make_requests(CASES["one"], CPU)) for each in (one, other))
    (again,) = one.render(make_requests(CASES["one"], CPU))
    assert torch.equal(first, again)
    assert not torch.allclose(first, second, atol=1e-3)
    plain = S3Gen(weights, FLOW).with_vocoder(other_weights / "mel2wav")
    assert_close([second], plain.render(make_requests(CASES["one"], CPU)))


def test_one_after_the_other_no_chunk_depends_on_another(weights):
    """As on a GPU with PRECISION=exact: to the last bit."""
    renderer = PackedS3Gen(weights, FLOW, torch.float32, graphs=False, together=False)
    together = renderer.render(make_requests(EIGHT, CPU))
    for samples, request in zip(together, make_requests(EIGHT, CPU), strict=True):
        assert torch.equal(samples, renderer.render([request])[0])
