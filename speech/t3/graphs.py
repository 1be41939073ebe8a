"""Decoding steps as CUDA graphs: hundreds of kernels with one launch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

import torch

from speech.capture import CaptureFailed, capture_graph

log = logging.getLogger(__name__)


class StepGraphs:
    """One CUDA graph for each shape of a step, captured when that shape first comes.

    A step must be the same work whenever its shape is the same; see ``capture_graph`` for the other rules.
    All graphs share one memory pool: one runs at a time. A shape whose capture fails has no graph for good.
    """

    def __init__(self, device: torch.device) -> None:
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._without_graph: set[Hashable] = set()
        self._pool = torch.cuda.graph_pool_handle()
        # Of high priority, which the kernels of the graphs keep.
        self._stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]

    def run(self, shape: Hashable, work: Callable[[], None]) -> None:
        """Runs the work once: eagerly the first time, by replaying the graph ever after."""
        graph = self._graphs.get(shape)
        if graph is not None:
            graph.replay()
        elif shape in self._without_graph:
            work()
        else:
            self._capture(shape, work)

    def _capture(self, shape: Hashable, work: Callable[[], None]) -> None:
        try:
            self._graphs[shape] = capture_graph(work, self._stream, self._pool)
        except CaptureFailed as error:  # the work itself was run
            log.warning("T3 is slower: work of the shape %s has no CUDA graph: %s", shape, error)
            self._without_graph.add(shape)
            self._pool = torch.cuda.graph_pool_handle()
