"""Capture of CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def capture_graph(work: Callable[[], None], stream: torch.cuda.Stream, pool: Any) -> torch.cuda.CUDAGraph:
    """Runs the work once, eagerly, and then captures it as a graph. Waits for the device.

    The work must read and write tensors that stay where they are, and never wait for the device. For use by
    the one thread that submits work to the device: CUDA forbids synchronizing calls of others while it
    captures. stream: one for all captures of a caller; cuBLAS keeps a workspace of 8 to 32 MiB for every
    stream that it ever met, and a graph keeps the priority of the stream that it was captured on.
    pool: of memory, from ``torch.cuda.graph_pool_handle``; graphs that never run at once may share it.
    """
    current = torch.cuda.current_stream()
    # Libraries set themselves up in their first call, which cannot be captured; this is that call, and work
    # like any other. Capturing runs nothing.
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        work()
    current.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            work()
    finally:
        # A capture that fails leaves the thread in the capturing stream (torch 2.10 and 2.11).
        torch.cuda.set_stream(current)
    return graph
