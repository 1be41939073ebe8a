"""Decoding steps as CUDA graphs: hundreds of kernels with one launch."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch


class StepGraphs:
    """One CUDA graph for each shape of a step, captured when that shape first comes.

    A step must read and write tensors that stay where they are, never wait for the device, and be the same
    work whenever its shape is the same. All graphs share one memory pool: one runs at a time. For use by the
    one thread that submits work to the device: CUDA forbids synchronizing calls of others while it captures.
    """

    def __init__(self, device: torch.device) -> None:
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()
        # One for all captures: cuBLAS keeps a workspace of 8 to 32 MiB for every stream that it ever met.
        # Kernels of a graph keep the priority of the stream that they were captured on: T3's is high.
        self._stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]

    def run(self, shape: Hashable, work: Callable[[], None]) -> None:
        """Runs the work: eagerly the first time, by replaying the graph ever after."""
        graph = self._graphs.get(shape)
        if graph is not None:
            graph.replay()
            return
        current = torch.cuda.current_stream()
        # Libraries set themselves up in their first call, which cannot be captured; this is that call,
        # and a step like any other. Capturing runs nothing.
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                work()
        finally:
            # A capture that fails leaves the thread in the capturing stream (torch 2.10 and 2.11).
            torch.cuda.set_stream(current)
        self._graphs[shape] = graph
