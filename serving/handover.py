"""Handing over what a job's thread makes to the event loop, a few items ahead."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Awaitable
from typing import Generic, TypeVar

from cancel import CancelToken

Item = TypeVar("Item")


class Handover(Generic[Item]):
    """A queue from one job's thread to one reader on the event loop.

    The thread waits once ``most_ahead`` items are made and not yet taken, so that a slow reader costs no
    memory. To be made on the event loop's thread.
    """

    def __init__(self, most_ahead: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Item | None] = asyncio.Queue()
        self._slots = threading.Semaphore(most_ahead)

    def put(self, item: Item, cancel: CancelToken) -> None:
        """Hands over an item; called in the job's thread. Raises Cancelled, also while it waits."""
        unregister = cancel.on_cancel(self._slots.release)
        self._slots.acquire()
        unregister()
        cancel.raise_if_cancelled()
        self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    async def items(self, work: Awaitable[object]) -> AsyncGenerator[Item]:
        """Yields the items in order, until the work has ended that puts them.

        An item's place is free for another one when the next item is asked for. Closing the generator early
        cancels the work, and waits until it has ended.
        """
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda _: self._items.put_nowait(None))
        try:
            while (item := await self._items.get()) is not None:
                yield item
                self._slots.release()
        finally:
            task.cancel()
            while not task.done():  # cancelled again: the job's thread is waited for all the same
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
