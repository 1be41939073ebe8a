"""Capture of CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from speech.gpu_faults import GpuFault, gpu_fault


class CaptureFailed(Exception):
    """The work was run, but no graph can be made of it. Says why in one line."""


def capture_graph(work: Callable[[], None], stream: torch.cuda.Stream, pool: Any) -> torch.cuda.CUDAGraph:
    """Runs the work once, eagerly, and then captures it as a graph. Waits for the device.

    The work must read and write tensors that stay where they are, and never wait for the device. For use by
    the one thread that submits work to the device: CUDA forbids synchronizing calls of others while it
    captures. stream: one for all captures of a caller; cuBLAS keeps a workspace of 8 to 32 MiB for every
    stream that it ever met, and a graph keeps the priority of the stream that it was captured on.
    pool: of memory, from ``torch.cuda.graph_pool_handle``; graphs that never run at once may share it.

    Raises what the work raises when it is run. When it was run and the capture fails, raises CaptureFailed,
    after which the pool must not be captured into any more; a lack of memory and the loss of the device are
    raised as they are.
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
    except Exception as error:
        _stop_recording(pool)
        fault = _fault_behind(error)
        if fault is None:
            raise CaptureFailed(f"{type(error).__name__}: {error}".splitlines()[0]) from error
        raise fault  # noqa: B904  # it is what ``error`` comes from
    finally:
        # A capture that fails leaves the thread in the capturing stream (torch 2.10 and 2.11).
        torch.cuda.set_stream(current)
    return graph


def _fault_behind(error: BaseException | None) -> BaseException | None:
    """The lack of memory or the loss of the device that made a capture fail; None for any other reason.

    It may be behind another error: that of ending a capture which had failed already.
    """
    while error is not None and gpu_fault(error) not in (GpuFault.MEMORY, GpuFault.STICKY):
        error = error.__context__
    return error


def _stop_recording(pool: Any) -> None:
    """Lets PyTorch's allocator know that a capture is over, which one that failed does not (torch 2.10).

    For as long as it believes in a capture, it gives no memory back to the device.
    """
    with suppress(RuntimeError):  # it knows
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
