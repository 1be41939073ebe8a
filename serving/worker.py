"""Jobs in, replies out: each in a thread, within its time, and never one that the next has to suffer for."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import logs
from errors import (
    Cancelled,
    Internal,
    InvalidRequest,
    ModelUnavailable,
    OutOfMemory,
    OutputTooLarge,
    StoreCorrupt,
    StoreUnavailable,
    WorkerError,
)
from operations import dispatch
from operations.base import Job, Services, posted_bytes
from operations.request import shown
from operations.streaming import PIECE_LIMIT_BYTES
from serving.activity import Activity
from serving.condition import Condition
from serving.running_job import Emit, Report, RunningJob, job_id_of
from serving.watched_speaker import WatchedSpeaker
from settings import Settings
from speech.contract import SpeechStopped

# The platform's limits for a reply, and how it names the jobs that came by /runsync.
RUN_REPLY_LIMIT_BYTES = 10_000_000
RUNSYNC_REPLY_LIMIT_BYTES = 20_000_000
RUNSYNC_ID_PREFIX = "sync-"

# A job that was told to end looks every few steps of the model. One that has not ended by then hangs.
STOP_GRACE_S = 50.0

# What an operator has to look into, with a traceback; what callers send wrong gets a line.
OUR_FAULTS = (Internal, ModelUnavailable, OutOfMemory, StoreCorrupt, StoreUnavailable)
SEND_AGAIN = "the worker is being replaced; send the job again"

Result = TypeVar("Result")
log = logging.getLogger(__name__)


class Worker:
    """services: built at the first call, in a thread of a job. As many jobs run at a time as the settings
    say; a thread belongs to one job until it is through with it.

    report: tells the platform how far a job is.
    """

    def __init__(
        self,
        settings: Settings,
        services: Callable[[], Services],
        *,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        self.condition = Condition()
        self.activity = Activity()
        self.report: Callable[[Mapping[str, Any], Mapping[str, Any]], None] | None = None
        self._settings, self._build_services = settings, services
        self._services: Services | None = None
        self._building = threading.Lock()
        self._stop_grace_s = stop_grace_s
        self._threads = ThreadPoolExecutor(settings.max_concurrency, thread_name_prefix="job")
        self._running: set[RunningJob] = set()

    def services(self) -> Services:
        """In a job's thread. Raises what building them raises."""
        with self._building:
            if self._services is None:
                built = self._build_services()
                self._services = replace(built, speaker=WatchedSpeaker(built.speaker, self.condition))
            return self._services

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Does something where jobs run: some warmth is a thread's own."""
        return self._threads.submit(work)

    def end_all(self, reason: WorkerError) -> None:
        """On the event loop's thread."""
        for job in tuple(self._running):
            job.end(reason)

    async def stream(self, event: object) -> AsyncIterator[dict[str, Any]]:
        """The pieces of one job's reply, as they come, and what ``handle`` would return as the last one."""
        pieces: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def emit(piece: Mapping[str, Any]) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, dict(piece))

        reply = asyncio.ensure_future(self.handle(event, emit))
        reply.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            yield reply.result()
        finally:
            reply.cancel()
            await asyncio.wait({reply})

    async def handle(self, event: object, emit: Emit | None = None) -> dict[str, Any]:
        """The reply to one job; ``{"error": ..., "error_code": ...}`` when it failed.

        emit: takes the pieces of a reply that can be sent ahead; called by the job's thread.
        Raises nothing but CancelledError, and that only when the job's thread has ended, or hangs.
        """
        job = RunningJob(job_id_of(event), self._reporter(event, emit), emit)
        self._running.add(job)
        thread = self._threads.submit(self._run, event, job, time.perf_counter())
        try:
            return await self._reply_within_its_time(thread, job)
        except asyncio.CancelledError:
            job.end(Cancelled("the job was cancelled"))
            await self._wait_for_end(thread)
            if thread.cancelled():  # else its own line tells
                with logs.job_lines(job.id):
                    log.info("cancelled before it began")
            raise
        finally:
            self._running.discard(job)

    def _reporter(self, event: object, emit: Emit | None) -> Report | None:
        send = self.report
        if send is None or emit is not None or not isinstance(event, Mapping):  # pieces tell by themselves
            return None
        return lambda progress: send(event, progress)

    async def _reply_within_its_time(self, thread: Future[dict[str, Any]], job: RunningJob) -> dict[str, Any]:
        result, ended = asyncio.wrap_future(thread), asyncio.ensure_future(job.ended.wait())
        limit_s = self._settings.job_timeout_s
        either: set[asyncio.Future[Any]] = {result, ended}
        try:
            await asyncio.wait(either, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
        if not result.done():
            job.end(Cancelled(f"the job took longer than {limit_s} s; send a long text in several jobs"))
            await self._wait_for_end(thread)
        if thread.cancelled():  # it had not begun
            return {**job.reason.reply()}
        if thread.done():
            return thread.result()
        return {**Internal(f"the job hangs; {SEND_AGAIN}").reply()}

    async def _wait_for_end(self, thread: Future[dict[str, Any]]) -> None:
        """Until then its slot is taken: nothing else must run beside it. Cannot be cancelled."""
        if thread.cancel():
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
            self.condition.condemn("a job did not end when it was told to")

    def _run(self, event: object, job: RunningJob, taken_s: float) -> dict[str, Any]:
        start_s = time.perf_counter()
        with logs.job_lines(job.id), self.activity.of_a_job():
            try:
                reply = self._reply(event, job)
                _check_sendable(reply, self._limit_bytes(job))
            except OutputTooLarge as error:
                reply = {**error.reply()}
            except Exception:
                log.exception("the job failed by a fault of the worker")
                reply = {**Internal(f"the worker failed on job {job.id}; its log says more").reply()}
            end_s = time.perf_counter()
            _log_outcome(event, reply, waited_s=start_s - taken_s, took_s=end_s - start_s)
        return reply

    def _limit_bytes(self, job: RunningJob) -> int | None:
        """For the reply itself."""
        return PIECE_LIMIT_BYTES if job.emit is not None else self._result_limit_bytes(job)

    def _result_limit_bytes(self, job: RunningJob) -> int | None:
        if not self._settings.on_platform:
            return None
        is_waited_for = job.id.startswith(RUNSYNC_ID_PREFIX)
        return RUNSYNC_REPLY_LIMIT_BYTES if is_waited_for else RUN_REPLY_LIMIT_BYTES

    def _job(self, event: Mapping[str, Any], job: RunningJob) -> Job:
        """Raises InvalidRequest."""
        s3_config = event.get("s3Config")
        if s3_config is not None and not isinstance(s3_config, Mapping):
            raise InvalidRequest("s3Config must be an object, beside input")
        job_input = event["input"] if isinstance(event["input"], Mapping) else None
        # Local jobs share one id: they are never repetitions.
        known = None
        if job_input is not None and self._settings.on_platform:
            target = {key: (s3_config or {}).get(key) for key in ("endpointUrl", "bucketName")}
            known = {**job_input, "s3Config": target}
        return Job(
            job.id,
            self._limit_bytes(job),
            job,
            known,
            s3_config,
            emit=job.emit,
            stream_limit_bytes=self._result_limit_bytes(job),
        )

    def _reply(self, event: object, job: RunningJob) -> dict[str, Any]:
        try:
            if job.is_gone():
                raise job.reason
            if self.condition.is_condemned:
                raise Internal(SEND_AGAIN)
            if not isinstance(event, Mapping) or "input" not in event:
                raise InvalidRequest('input is required: send {"input": {"operation": ...}}')
            return dispatch(event["input"], self.services(), self._job(event, job))
        except SpeechStopped:
            return {**job.reason.reply()}
        except WorkerError as error:
            # The caller gets a sentence; what lies behind it, if anything does, is for the log.
            if isinstance(error, OUR_FAULTS):
                log.error("%s", error.reply()["error"], exc_info=error)
            elif error.__cause__ is not None:
                log.warning("%s: %r", error.code, error.__cause__)
            return {**error.reply()}


def _check_sendable(reply: dict[str, Any], limit_bytes: int | None) -> None:
    """Raises TypeError, ValueError or OutputTooLarge for what the SDK or the platform drops, without an
    error."""
    size_bytes = posted_bytes(reply)
    if limit_bytes is not None and size_bytes > limit_bytes:
        raise OutputTooLarge(
            f"the reply would have {size_bytes} bytes and {limit_bytes} is the platform's limit; ask for less"
        )


def _log_outcome(event: object, reply: Mapping[str, Any], *, waited_s: float, took_s: float) -> None:
    """One line, in which nothing of the caller's but the operation's name appears."""
    job_input = event.get("input") if isinstance(event, Mapping) else None
    fields = job_input if isinstance(job_input, Mapping) else {}
    operation, text = fields.get("operation"), fields.get("text")
    stages = reply.get("metrics", {}).get("stages", {})
    log.info(
        "done operation=%s characters=%d audio_s=%.3f waited_s=%.3f took_s=%.3f outcome=%s%s",
        shown(operation) if isinstance(operation, str) else "-",
        len(text) if isinstance(text, str) else 0,
        reply.get("duration", 0.0),
        waited_s,
        took_s,
        reply.get("error_code", "ok"),
        "".join(f" {stage}_s={time_s:.3f}" for stage, time_s in stages.items()),
    )
