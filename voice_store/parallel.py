"""The same work on many things, in several threads where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")


def map_in_threads(work: Callable[[Thing], Result], things: Sequence[Thing], jobs: int) -> Iterator[Result]:
    """Yields what ``work`` returns for each thing, in their order; with one job in this thread.

    Threads are enough: recordings are decoded in processes of their own, and zlib, numpy and hashlib release
    the interpreter's lock. A caller that stops iterating stops the work. Raises what ``work`` raises.
    """
    if min(jobs, len(things)) <= 1:
        yield from map(work, things)
        return
    pool = ThreadPoolExecutor(jobs)
    try:
        yield from pool.map(work, things)
    finally:
        pool.shutdown(cancel_futures=True)
