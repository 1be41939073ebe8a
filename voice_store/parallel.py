"""The same work on many things, in several processes where that is asked for."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from errors import StoreUnavailable

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def map_in_processes(work: Callable[[Thing], Result], things: Sequence[Thing], jobs: int) -> Iterator[Result]:
    """What ``work`` makes of each, in their order. With one job it is done in this process.

    Things, results and ``work`` must be picklable. Whoever stops iterating stops the work.
    Raises StoreUnavailable when a process is killed, and what ``work`` raises.
    """
    jobs = min(jobs, len(things))
    if jobs <= 1:
        yield from map(work, things)
        return
    # Not forked: a fork would inherit locks that other threads of this process hold.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_start)
    try:
        yield from pool.map(work, things)
    except BrokenProcessPool as fault:
        raise StoreUnavailable(
            "one of the processes was killed, perhaps for want of memory", hint="try again with fewer jobs"
        ) from fault
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """In each process: a person's Ctrl-C is for the first of them, which stops the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.ERROR)
