"""OpenMP's threads, with which PyTorch computes on a CPU.

Every thread that computes has some of its own. GNU's library lets them wait for the next operator in a loop
while the process has no more of them than there are CPUs; when it has more, they sleep after each operator,
and S3Gen takes a fifth longer on two CPUs. So the thread that owns the device has all of them, and no other
thread has any.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import torch

Result = TypeVar("Result")

_counts = {"process": 1}  # as it was before threads that come later were left with one


def load_with_all_threads(work: Callable[[], Result]) -> Result:
    """Runs work in a thread of its own, with as many of OpenMP's threads as PyTorch has by default.

    They end with it. Threads that come later compute with one thread, unless they set another number
    themselves. Raises what the work raises.
    """
    future: Future[Result] = Future()

    def run() -> None:
        default = torch.get_num_threads()
        if default > 1:  # nobody has called this before, or the number was set since
            _counts["process"] = default
        torch.set_num_threads(_counts["process"])
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        finally:
            torch.set_num_threads(1)

    thread = threading.Thread(target=run, name="load", daemon=True)
    thread.start()
    try:
        return future.result()
    finally:
        if future.done():  # else the wait was interrupted
            thread.join()
