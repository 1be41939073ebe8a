"""Runs each job in a thread of its own, within its time; a job's slot is free once its thread has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import logs
from cancel import CancelToken
from errors import Cancelled, Internal
from serving.health import WorkerHealth

# A cancelled job looks at its token every few steps of the model. One that has not ended by then hangs.
STOP_GRACE_S = 50.0

Result = TypeVar("Result")
log = logging.getLogger(__name__)


class JobRunner:
    """Threads for jobs: as many as run at a time."""

    def __init__(
        self, health: WorkerHealth, *, max_concurrency: int, timeout_s: float, stop_grace_s: float
    ) -> None:
        """timeout_s: a job is cancelled then. stop_grace_s: what a cancelled job gets to end."""
        self._health, self._timeout_s, self._stop_grace_s = health, timeout_s, stop_grace_s
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="job")
        self._tokens: set[CancelToken] = set()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Does something where jobs run: some warmth is a thread's own."""
        return self._threads.submit(work)

    def cancel_all(self, reason: Cancelled) -> None:
        """Cancels every job that runs or waits. To be called on the event loop's thread."""
        for token in tuple(self._tokens):
            # An error of its own for each: one exception object must not be raised in several threads.
            token.cancel(Cancelled(reason.reason, hint=reason.hint))

    async def run(self, job: logs.LoggedJob, work: Callable[[CancelToken], Result]) -> Result:
        """Returns what ``work`` returns, which a thread does.

        Raises what ``work`` raises; Cancelled for a job that was cancelled before it began; Internal for one
        that hangs; asyncio.CancelledError, and that only when the thread has ended, or hangs.
        """
        cancel = CancelToken()
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        thread = self._threads.submit(self._run, job, work, cancel)
        thread.add_done_callback(lambda _: loop.call_soon_threadsafe(ended.set))
        unregister = cancel.on_cancel(lambda: loop.call_soon_threadsafe(ended.set))
        self._tokens.add(cancel)
        try:
            async with asyncio.timeout(self._timeout_s):
                await ended.wait()
        except TimeoutError:
            reason = f"the job took longer than {self._timeout_s:g} s"
            cancel.cancel(Cancelled(reason, hint="send a long text in several jobs"))
        except asyncio.CancelledError:
            cancel.cancel(Cancelled("the job was cancelled"))
            await self._wait_for_end(thread)
            if thread.cancelled():  # else its own line tells
                with logs.job_lines(job):
                    log.info("cancelled before it began")
            raise
        finally:
            unregister()
            self._tokens.discard(cancel)
        await self._wait_for_end(thread)
        if thread.cancelled():
            assert cancel.reason is not None
            raise cancel.reason
        if not thread.done():
            raise Internal("the job hangs; the worker is being replaced", hint="send the job again")
        return thread.result()

    @staticmethod
    def _run(job: logs.LoggedJob, work: Callable[[CancelToken], Result], cancel: CancelToken) -> Result:
        with logs.job_lines(job):
            return work(cancel)

    async def _wait_for_end(self, thread: Future[Result]) -> None:
        """Returns when the thread has ended: nothing else must run beside it. Cannot be cancelled.

        Marks the worker unhealthy when the thread does not end.
        """
        if thread.done() or thread.cancel():
            return
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        thread.add_done_callback(lambda _: loop.call_soon_threadsafe(over.set))
        waiting = asyncio.ensure_future(asyncio.wait_for(over.wait(), self._stop_grace_s))
        while not waiting.done():
            try:
                await asyncio.wait({waiting})
            except asyncio.CancelledError:
                continue  # told twice
        if isinstance(waiting.exception(), TimeoutError):
            self._health.mark_unhealthy("a job did not end when it was told to")
