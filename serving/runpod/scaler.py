"""The SDK's worker loop, with the ways out that it lacks.

Version 1.12.0 of the SDK polls for jobs after a SIGTERM and never runs what comes; it polls without a
pause while its server is gone; a full worker looks for room once a second; and cancels are no longer asked
for after a SIGTERM. Taking and cancelling jobs is ours here, running and answering them stays the SDK's.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from typing import Any

from runpod.http_client import ClientSession, TooManyRequests
from runpod.serverless.modules import rp_scale

from errors import Cancelled
from serving.job_worker import JobWorker

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
TOO_MANY_REQUESTS_S = 5.0
STOP_PAUSE_S = 1.0
# A job may have been handed out and be on its way when the worker is told to leave: it is waited for.
SETTLE_S = 1.0

log = logging.getLogger(__name__)


class Scaler(rp_scale.JobScaler):  # type: ignore[misc]
    """The SDK's loop for one worker."""

    def __init__(self, worker: JobWorker, grace_s: float, config: dict[str, Any]) -> None:
        """grace_s: what running jobs get to end by themselves once the worker has to leave."""
        super().__init__(config)
        self._worker, self._grace_s = worker, grace_s
        self._room_came = asyncio.Event()
        self._taking_ended = asyncio.Event()
        self._running_ended = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.kill_worker)
        self._worker.health.on_unhealthy(lambda: loop.call_soon_threadsafe(self.kill_worker))
        ending = asyncio.create_task(self._cancel_after_grace())
        try:
            await super().run()
        finally:
            ending.cancel()

    async def get_jobs(self, session: ClientSession) -> None:
        pause_s = FIRST_PAUSE_S
        while self.is_alive():
            await self.set_scale()
            self._room_came.clear()
            needed = self.current_concurrency - self.current_occupancy()
            if needed <= 0:
                await self._or_shutdown(self._room_came.wait())
                continue
            asked_s = time.monotonic()
            try:
                fetching = asyncio.wait_for(self.jobs_fetcher(session, needed), self.jobs_fetcher_timeout)
                jobs = await self._or_shutdown(fetching, settle_s=SETTLE_S)
                pause_s = FIRST_PAUSE_S
            except TimeoutError:
                continue
            except TooManyRequests:
                await self._or_shutdown(asyncio.sleep(TOO_MANY_REQUESTS_S))
                continue
            except Exception as error:  # whatever the network and the server do: try again, later and later
                log.warning("no job could be fetched, next try in %.1f s: %r", pause_s, error)
                await self._or_shutdown(asyncio.sleep(pause_s))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            held_s = time.monotonic() - asked_s
            if not jobs and held_s < FIRST_PAUSE_S:  # else it would be asked as fast as it answers
                await self._or_shutdown(asyncio.sleep(FIRST_PAUSE_S))
            for job in jobs or ():
                if not (isinstance(job, dict) and isinstance(job.get("id"), str)):
                    log.error("something that is no job was handed out: it has no id to answer to")
                    continue
                await self.jobs_queue.put(job)
                self.job_progress.add(job)
        self._taking_ended.set()

    async def run_jobs(self, session: ClientSession) -> None:
        await super().run_jobs(session)
        # The SDK's loop ends when the worker has to leave and nothing is queued; a job may just be coming in.
        await self._taking_ended.wait()
        await super().run_jobs(session)
        self._running_ended.set()

    async def handle_job(self, session: ClientSession, job: dict[str, Any]) -> None:
        # The SDK counts a queued job both as queued and as in progress: now there is one more free slot.
        self._room_came.set()
        try:
            await super().handle_job(session, job)
        finally:
            self._room_came.set()

    async def monitor_stop_signals(self, session: ClientSession) -> None:
        """Cancels the jobs that the platform names, as long as jobs run: after a SIGTERM, too."""
        if rp_scale._job_stop_url() is None:
            log.warning("jobs cannot be cancelled: the platform's address for that is not known")
            return
        polling = asyncio.create_task(self._poll_stop_signals(session))
        try:
            await self._running_ended.wait()
        finally:
            polling.cancel()

    async def _poll_stop_signals(self, session: ClientSession) -> None:
        while True:
            pause_s = 0.0
            try:
                polling = self.stop_signals_fetcher(session)
                job_ids = await asyncio.wait_for(polling, self.stop_signals_fetcher_timeout)
                for job_id in job_ids:
                    await self.stop_job(job_id)
                if not job_ids:  # else it would be asked as fast as it answers
                    pause_s = STOP_PAUSE_S
            except TimeoutError:
                pass
            except TooManyRequests:
                pause_s = TOO_MANY_REQUESTS_S
            except Exception as error:  # whatever the network and the server do
                log.warning("no cancels could be fetched: %r", error)
                pause_s = STOP_PAUSE_S
            await asyncio.sleep(pause_s)

    async def _or_shutdown(self, awaitable: Any, settle_s: float = 0.0) -> Any:
        """Returns what the awaitable gives; None when the worker has to leave first.

        settle_s: what the awaitable still gets then.
        """
        work = asyncio.ensure_future(awaitable)
        leaving = asyncio.ensure_future(self._shutdown_event.wait())
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait({work}, timeout=settle_s)
                work.cancel()
                await asyncio.wait({work})
            return None if work.cancelled() else work.result()
        finally:
            work.cancel()
            leaving.cancel()

    async def _cancel_after_grace(self) -> None:
        await self._shutdown_event.wait()
        log.info("leaving: no further job is taken, those that run have %.0f s", self._grace_s)
        await asyncio.sleep(self._grace_s)
        reason = "the worker had to leave before the job was done"
        self._worker.runner.cancel_all(Cancelled(reason, hint="send the job again"))
