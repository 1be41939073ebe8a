"""Threads for work on a CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def run_in_thread(work: Callable[[], Result]) -> Result:
    """Runs work in a thread of its own, with which the threads end that OpenMP made for it.

    PyTorch computes with OpenMP's threads, of which every thread that computes has its own. GNU's library
    lets them wait for the next operator in a loop while the process has no more of them than there are CPUs.
    When it has more, they sleep after each operator: S3Gen then takes a fifth longer on two CPUs. Raises what
    the work raises.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, name="work", daemon=True)
    thread.start()
    try:
        return future.result()
    finally:
        if future.done():  # else the wait was interrupted
            thread.join()
