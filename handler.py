"""The worker's entry point: RunPod jobs in, replies out.

Builds the services once, runs jobs in threads, turns errors into replies.
``python handler.py`` starts the RunPod SDK, which runs test_input.json when no platform is there.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import json
import logging
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import logs
from delivery import SPILL_FOLDER, InlineOrFile
from errors import (
    Internal,
    InvalidRequest,
    ModelUnavailable,
    OutOfMemory,
    StoreCorrupt,
    StoreUnavailable,
    WorkerError,
)
from operations import dispatch
from operations import warm_up as warm_up_operations
from operations.base import Job, Services
from operations.request import shown
from settings import VOLUME, Settings, SettingsError
from voice_store import VoiceStore

# The platform's limits for a reply, and how it names the jobs that came by /runsync.
RUN_REPLY_LIMIT_BYTES = 10_000_000
RUNSYNC_REPLY_LIMIT_BYTES = 20_000_000
RUNSYNC_ID_PREFIX = "sync-"

QUIET_S = 2.0  # a worker is mostly started for a job that waits: that one comes sooner

# What an operator has to look into, with a traceback; what callers send wrong gets a line.
OUR_FAULTS = (Internal, ModelUnavailable, OutOfMemory, StoreCorrupt, StoreUnavailable)

log = logging.getLogger(__name__)


class Activity:
    """Whether jobs run."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs = 0

    @contextmanager
    def of_a_job(self) -> Iterator[None]:
        with self._changed:
            self._jobs += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._jobs -= 1
                self._changed.notify_all()

    def wait_for_quiet(self, quiet_s: float) -> None:
        """Returns once no job has run for so long."""
        with self._changed:
            while self._jobs or self._changed.wait_for(lambda: self._jobs > 0, timeout=quiet_s):
                self._changed.wait_for(lambda: self._jobs == 0)


@functools.cache
def activity() -> Activity:
    return Activity()


@functools.cache
def warm_settings() -> Settings:
    """Read at the first call. Raises SettingsError."""
    return Settings.from_env()


@functools.cache
def job_threads() -> ThreadPoolExecutor:
    """As many as jobs at a time, so that the event loop stays alive (heartbeat, cancelling) while jobs run.

    A cancelled job's thread runs on: a job that comes in its place waits here until it ended.
    """
    return ThreadPoolExecutor(max_workers=warm_settings().max_concurrency, thread_name_prefix="job")


@functools.cache
def warm_services() -> Services:
    """Built, with the model loaded and warmed up, at the first call. Raises WorkerError, SettingsError."""
    from speech.engine import load_engine  # torch takes seconds to import: tools do without

    settings = warm_settings()
    engine = load_engine(
        model=settings.model,
        checkpoint_dir=settings.checkpoint_dir,
        device=settings.device,
        precision=settings.precision,
        upstream=settings.engine == "upstream",
        max_concurrency=settings.max_concurrency,
        revision=settings.model_revision,
        hf_token=settings.hf_token,
        hub_caches=settings.hub_caches,
    )
    engine.warm_up()
    warm_up_operations()
    return Services(
        speaker=engine,
        voices=VoiceStore(settings.voice_store_dir),
        delivery=InlineOrFile(settings.voice_store_dir.parent / SPILL_FOLDER),
        max_text_chars=settings.max_text_chars,
    )


async def handler(event: object) -> dict[str, Any]:
    """The reply to one job; ``{"error": ..., "error_code": ...}`` when it failed.

    Raises nothing but CancelledError.
    """
    job_id = _job_id(event)
    queued_s = time.perf_counter()
    try:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(job_threads(), _run_job, event, job_id, queued_s)
    except asyncio.CancelledError:
        with logs.job_lines(job_id):
            log.warning("cancelled after_s=%.3f", time.perf_counter() - queued_s)
        raise


def _run_job(event: object, job_id: str, queued_s: float) -> dict[str, Any]:
    start_s = time.perf_counter()
    with logs.job_lines(job_id), activity().of_a_job():
        try:
            reply = _reply(event, job_id)
            _check_sendable(reply)
        except Exception:
            log.exception("the job failed by a fault of the worker")
            reply = {**Internal(f"the worker failed on job {job_id}; its log says more").reply()}
        end_s = time.perf_counter()
        _log_outcome(event, reply, waited_s=start_s - queued_s, took_s=end_s - start_s)
    return reply


def _reply(event: object, job_id: str) -> dict[str, Any]:
    try:
        if not isinstance(event, Mapping) or "input" not in event:
            raise InvalidRequest('input is required: send {"input": {"operation": ...}}')
        limit_bytes = _reply_limit_bytes(job_id) if warm_settings().on_platform else None
        return dispatch(event["input"], warm_services(), Job(job_id, limit_bytes))
    except WorkerError as error:
        # The caller gets a sentence; what lies behind it, if anything does, is for the log.
        if isinstance(error, OUR_FAULTS):
            log.error("%s", error.reply()["error"], exc_info=error)
        elif error.__cause__ is not None:
            log.warning("%s: %r", error.code, error.__cause__)
        return {**error.reply()}


def _check_sendable(reply: dict[str, Any]) -> None:
    """Raises TypeError or ValueError for what the SDK fails to post, without an error."""
    json.dumps(reply, allow_nan=False, ensure_ascii=False).encode()


def _reply_limit_bytes(job_id: str) -> int:
    return RUNSYNC_REPLY_LIMIT_BYTES if job_id.startswith(RUNSYNC_ID_PREFIX) else RUN_REPLY_LIMIT_BYTES


def _job_id(event: object) -> str:
    """The platform's id, fit for replies and logs; a new one when there is none."""
    job_id = event.get("id") if isinstance(event, Mapping) else None
    if not isinstance(job_id, str) or not job_id:
        return uuid.uuid4().hex
    return job_id.encode("utf-8", "backslashreplace").decode()


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


def _prepare(services: Services) -> None:
    """Jobs in known voices wait neither for what new voices take, nor beside its loading."""
    activity().wait_for_quiet(QUIET_S)
    services.speaker.prepare_for_new_voices()


def main() -> None:
    """Warms up, then hands over to the SDK. A start that fails says why in one line and exits 1."""
    try:
        settings = warm_settings()
    except SettingsError as error:
        sys.exit(f"cannot start: {error}")

    # The SDK takes seconds to import, most of them waiting for a process that asks about the CPU.
    sdk = threading.Thread(target=importlib.import_module, args=("runpod",), name="sdk")
    sdk.start()
    logs.configure(settings.log_level)
    log.info("starting with %s", settings)
    if settings.on_platform and not settings.voice_store_dir.is_relative_to(VOLUME):
        log.warning("no network volume is mounted: cloned voices end with this worker, and no other has them")
    try:
        services = (
            job_threads().submit(warm_services).result()
        )  # where jobs run: some warmth is a thread's own
    except WorkerError as error:
        sys.exit(f"cannot start: {error.reply()['error']}")
    sdk.join()
    import runpod

    logs.configure(settings.log_level)  # the import has installed a log handler of its own
    sdk_logger = runpod.RunPodLogger()
    if sdk_logger.level in ("TRACE", "DEBUG"):  # its default, at which it prints every reply
        sdk_logger.set_level("INFO")
    if settings.on_platform:
        # A local run does its one job and ends.
        threading.Thread(target=_prepare, args=(services,), name="prepare", daemon=True).start()
    concurrency = settings.max_concurrency
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _current: concurrency})


if __name__ == "__main__":
    main()
