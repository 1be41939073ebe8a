"""Decoding steps as CUDA graphs: hundreds of kernels with one launch."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch

from speech.capture import capture_graph


class StepGraphs:
    """One CUDA graph for each shape of a step, captured when that shape first comes.

    A step must be the same work whenever its shape is the same; see ``capture_graph`` for the other rules.
    All graphs share one memory pool: one runs at a time.
    """

    def __init__(self, device: torch.device) -> None:
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()
        # Of high priority, which the kernels of the graphs keep.
        self._stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]

    def run(self, shape: Hashable, work: Callable[[], None]) -> None:
        """Runs the work: eagerly the first time, by replaying the graph ever after."""
        graph = self._graphs.get(shape)
        if graph is not None:
            graph.replay()
            return
        self._graphs[shape] = capture_graph(work, self._stream, self._pool)
