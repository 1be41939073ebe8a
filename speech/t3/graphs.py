"""Steps as CUDA graphs: some 600 kernels with one launch."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch


class StepGraphs:
    """One graph for each shape of a step, captured when that shape first comes.

    A step must read and write tensors that stay where they are, wait for nothing, and be the same
    work whenever its shape is the same. All graphs share one pool of memory: one runs at a time.
    """

    def __init__(self) -> None:
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, shape: Hashable, work: Callable[[], None]) -> None:
        """Does the work: eagerly the first time, from the graph ever after."""
        graph = self._graphs.get(shape)
        if graph is not None:
            graph.replay()
            return
        # Libraries set themselves up in their first call, which cannot be captured; this is that call,
        # and a step like any other. Capturing runs nothing.
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            work()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may speak meanwhile, and take memory.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            work()
        self._graphs[shape] = graph
