"""The capture of CUDA graphs, and what cannot be captured, on a device that is made of paper."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from speech.capture import CaptureFailed, capture_graph
from speech.s3gen.graphs import RecentGraphs
from speech.t3.graphs import StepGraphs

CPU = torch.device("cpu")
NOT_PERMITTED = "CUDA error: operation not permitted when stream is capturing\nCUDA kernel errors might..."
SPOILED = "CUDA error: operation failed due to a previous error during capture"
ILLEGAL = "CUDA error: an illegal memory access was encountered"


class Stream:
    """Stands in for ``torch.cuda.Stream``."""

    def __init__(self, device: torch.device | None = None, priority: int = 0) -> None:
        self.priority = priority

    def wait_stream(self, other: Stream) -> None:
        """Nothing runs on paper."""


@dataclass
class Paper:
    """Captures on paper: what is called meanwhile is not run, and replayed later."""

    during: Callable[[], None] = lambda: None  # called in each capture
    at_end: Callable[[], None] = lambda: None  # called when a capture ends
    current: Stream = field(default_factory=Stream)
    is_capturing: bool = False
    streams: list[Any] = field(default_factory=list)  # of each capture
    pools: list[Any] = field(default_factory=list)
    runs: int = 0

    def work(self) -> None:
        if self.is_capturing:
            self.during()
        else:
            self.runs += 1

    @contextmanager
    def graph(self, graph: Any, *, pool: object, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        self.streams.append(stream)
        self.pools.append(pool)
        before, self.current, self.is_capturing = self.current, stream, True
        try:
            yield
        finally:
            self.is_capturing = False
            self.at_end()  # may raise, and leaves the thread in this stream then
        self.current = before

    def replay(self) -> None:
        self.runs += 1


def raises(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.fixture
def paper(monkeypatch) -> Paper:
    paper = Paper()
    for name, value in {
        "Stream": Stream,
        "stream": lambda stream: nullcontext(),
        "current_stream": lambda: paper.current,
        "set_stream": lambda stream: setattr(paper, "current", stream),
        "current_device": lambda: 0,
        "graph_pool_handle": object,
        "CUDAGraph": lambda: paper,
        "graph": paper.graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda device, pool: None)
    return paper


def run_step(graphs: StepGraphs | RecentGraphs, shape: object, work: Callable[[], None]) -> None:
    """What a caller does for one step of T3, or to get ready for one of the flow."""
    if isinstance(graphs, StepGraphs):
        graphs.run(shape, work)
    else:
        graphs.replay_of(shape, work)


KINDS = pytest.mark.parametrize("kind", [StepGraphs, RecentGraphs])


@pytest.mark.parametrize(
    "error", [RuntimeError(NOT_PERMITTED), RuntimeError("no CUDA word"), ValueError("out of luck")], ids=str
)
@KINDS
def test_what_cannot_be_captured_is_tried_once_and_run_eagerly(paper, caplog, kind, error):
    paper.during = raises(error)
    graphs, current = kind(CPU), paper.current
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            run_step(graphs, "a", paper.work)
            assert paper.current is current
    assert len(paper.pools) == 1, "it was captured again"
    (record,) = caplog.records
    assert str(error).splitlines()[0] in record.getMessage()
    assert "\n" not in record.getMessage()
    paper.during = lambda: None
    run_step(graphs, "b", paper.work)
    assert len(paper.pools) == 2
    assert paper.pools[0] is not paper.pools[1], "the allocator may still be recording to it"


def test_a_step_is_run_once_whether_or_not_it_can_be_captured(paper):
    graphs = StepGraphs(CPU)
    for shape, during in {"good": lambda: None, "bad": raises(RuntimeError(NOT_PERMITTED))}.items():
        paper.during = during
        for count in range(1, 4):
            graphs.run(shape, paper.work)
            assert paper.runs == count
        paper.runs = 0


@pytest.mark.parametrize(("kind", "priority"), [(StepGraphs, -1), (RecentGraphs, 0)])
def test_all_captures_are_of_one_stream_and_share_memory(paper, kind, priority):
    """cuBLAS keeps a workspace for every stream, and a graph's kernels keep the stream's priority."""
    graphs = kind(CPU)
    for shape in "abcab":
        run_step(graphs, shape, paper.work)
    assert len(paper.streams) == 3
    assert {id(stream) for stream in paper.streams} == {id(graphs._stream)}
    assert graphs._stream.priority == priority
    assert {id(pool) for pool in paper.pools} == {id(graphs._pool)}


def test_a_flow_without_a_graph_is_run_by_who_asked_for_one(paper):
    paper.during = raises(RuntimeError(NOT_PERMITTED))
    graphs = RecentGraphs(CPU)
    assert [graphs.replay_of("a", paper.work) for _ in range(2)] == [paper.work] * 2
    assert paper.runs == 1  # as with every capture


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(ILLEGAL)], ids=str
)
@pytest.mark.parametrize("is_spoiled", [False, True], ids=["alone", "behind another"])
@KINDS
def test_a_lack_of_memory_and_a_lost_device_are_no_reason_to_go_without(
    paper, caplog, kind, error, is_spoiled
):
    paper.during = raises(error)
    if is_spoiled:
        paper.at_end = raises(RuntimeError(SPOILED))
    graphs, current = kind(CPU), paper.current
    for _ in range(2):
        with pytest.raises(type(error), match=str(error)):
            run_step(graphs, "a", paper.work)
        assert paper.current is current
    assert len(paper.pools) == 2
    assert not caplog.records


@KINDS
def test_work_that_fails_has_not_failed_to_be_captured(paper, kind):
    graphs = kind(CPU)
    with pytest.raises(ValueError, match="out of luck"):
        run_step(graphs, "a", raises(ValueError("out of luck")))
    assert not paper.pools
    run_step(graphs, "a", paper.work)
    assert len(paper.pools) == 1


def test_the_reason_is_said_in_one_line(paper):
    paper.during = raises(RuntimeError(NOT_PERMITTED))
    with pytest.raises(CaptureFailed) as caught:
        capture_graph(paper.work, Stream(), object())
    assert str(caught.value) == f"RuntimeError: {NOT_PERMITTED.splitlines()[0]}"
    assert str(caught.value.__cause__) == NOT_PERMITTED
