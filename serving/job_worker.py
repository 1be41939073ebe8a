"""From a job's event to its reply in JSON, whole or in pieces."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import logs
from audio.encode import content_type, encode_lossless
from cancel import CancelToken
from characters import printable_excerpt
from delivery import Delivery
from delivery.delivering import posted_bytes
from errors import (
    Internal,
    InvalidRequest,
    ModelUnavailable,
    OutOfMemory,
    StoreCorrupt,
    StoreUnavailable,
    WorkerError,
)
from operations.base import Result, Services
from operations.convert_voice import ConvertVoiceRequest
from operations.get_voice import GetVoiceRequest
from operations.list_voices import ListVoicesRequest
from operations.speech_result import SpeechResult
from operations.tts import TtsRequest
from serving.envelope import (
    PIECE_LIMIT_BYTES,
    Job,
    Limits,
    LimitsOf,
    add_kept_preview,
    add_preview,
    check_sendable,
    complete,
    cut_list,
    error_reply,
    error_sentence,
    job_id_of,
    parse_job,
)
from serving.handover import Handover
from serving.health import WorkerHealth
from serving.jobs import STOP_GRACE_S, JobRunner
from serving.openai import (
    MODELS_PATH,
    VOICES_PATH,
    OpenAIRoute,
    models_list,
    openai_problems,
    openai_route,
    parse_openai_request,
    voices_list,
)
from serving.speech_replies import (
    Emit,
    Piece,
    Way,
    check_length,
    check_streaming,
    stream_reply,
    whole_reply,
)
from settings import Settings

# What an operator has to look into, with a traceback; what callers send wrong gets a line.
OUR_FAULTS = (Internal, ModelUnavailable, OutOfMemory, StoreCorrupt, StoreUnavailable)
EXPORT_INSTEAD = "export the voice with python -m voice_store where the volume is mounted"
MAX_PIECES_AHEAD = 8  # made and not yet posted: the job's thread waits, so that memory stays bounded

ProgressReport = Callable[[Mapping[str, Any], Mapping[str, Any]], None]

log = logging.getLogger(__name__)


class JobWorker:
    """Answers jobs."""

    def __init__(
        self,
        settings: Settings,
        build_services: Callable[[], Services],
        delivery: Delivery,
        health: WorkerHealth,
        limits_of: LimitsOf | None = None,
        *,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        """build_services: called once, by the first job or before, in a job's thread.

        limits_of: for the platform, which hands a job out again under the same id; None for this machine,
        where any size of reply arrives and jobs may share an id.
        """
        self.health, self.delivery = health, delivery
        self.runner = JobRunner(
            health,
            max_concurrency=settings.max_concurrency,
            timeout_s=settings.job_timeout_s,
            stop_grace_s=stop_grace_s,
        )
        # Tells the platform how far a job is: the event and the progress. None: nobody wants to know.
        self.report_progress: ProgressReport | None = None
        self._limits_of = limits_of
        self._build_services = build_services
        self._services: Services | None = None
        self._building = threading.Lock()

    def services(self) -> Services:
        """Returns the services, once they are built. Raises what building them raises."""
        with self._building:
            if self._services is None:
                self._services = self._build_services()
            return self._services

    async def handle(self, event: object, runner: JobRunner | None = None) -> dict[str, Any]:
        """Returns the reply to one job; ``{"error": ..., "error_code": ...}`` when it failed.

        runner: see ``run``. Raises nothing but asyncio.CancelledError, see ``JobRunner.run``.
        """
        return await self._run(event, None, runner)

    async def stream(self, event: object) -> AsyncGenerator[dict[str, Any]]:
        """Yields the pieces of one job's reply as they come; the last one is what ``handle`` would return.

        What the job's result is not to hold of a piece is taken out of it once the next one is asked for: the
        SDK has posted it by then and keeps it for the result.
        """
        handover = Handover[Piece](MAX_PIECES_AHEAD)
        reply = asyncio.ensure_future(self._run(event, handover.put))
        # Closed with this generator: an abandoned one would be closed only when it is collected.
        async with contextlib.aclosing(handover.items(reply)) as pieces:
            async for piece in pieces:
                yield piece.fields
                if piece.kept is not None:
                    piece.fields.clear()
                    piece.fields.update(piece.kept)
        yield reply.result()

    async def _run(self, event: object, emit: Emit | None, runner: JobRunner | None = None) -> dict[str, Any]:
        job_id = job_id_of(event)
        return await self.run(event, job_id, functools.partial(self._answer, event, job_id, emit), runner)

    async def run(
        self,
        event: object,
        job_id: str,
        work: Callable[[CancelToken], dict[str, Any]],
        runner: JobRunner | None = None,
    ) -> dict[str, Any]:
        """Returns the reply that ``work`` returns, or one that has ``error`` and ``error_code``.

        work: runs in a job's thread, and raises WorkerError for a job that fails. event: as it came, for the
        log. runner: has the threads; by default those of all jobs. Raises asyncio.CancelledError alone.
        """
        job = logs.LoggedJob(job_id)
        answer = functools.partial(self._reply, event, job, work, time.perf_counter())
        try:
            return await (runner or self.runner).run(job, answer)
        except WorkerError as error:  # it never ran, or hangs
            with logs.job_lines(job):
                log.warning("%s%s", job.model_prefix, error_sentence(error))
            return error_reply(error)

    def _reply(
        self,
        event: object,
        job: logs.LoggedJob,
        work: Callable[[CancelToken], dict[str, Any]],
        taken_s: float,
        cancel: CancelToken,
    ) -> dict[str, Any]:
        """Returns the reply, in the job's thread. Raises nothing."""
        start_s = time.perf_counter()
        try:
            cancel.raise_if_cancelled()
            self.health.raise_if_unhealthy()
            reply = work(cancel)
        except WorkerError as error:
            # The caller gets a sentence; what lies behind it, if anything does, is for the log.
            if isinstance(error, OUR_FAULTS):
                log.error("%s%s", job.model_prefix, error_sentence(error), exc_info=error)
            elif error.__cause__ is not None:
                log.warning("%s%s: %r", job.model_prefix, error.code, error.__cause__)
            reply = error_reply(error)
        except Exception:
            log.exception("%sthe job failed by a fault of the worker", job.model_prefix)
            reply = error_reply(Internal(f"the worker failed on job {job.id}; its log says more"))
        try:
            took_s = time.perf_counter() - start_s
            _log_outcome(event, job.model, reply, waited_s=start_s - taken_s, took_s=took_s)
        except Exception:  # a reply of an earlier try, which somebody has changed on the volume
            log.exception("the outcome of the job cannot be logged")
        return reply

    def _answer(self, event: object, job_id: str, emit: Emit | None, cancel: CancelToken) -> dict[str, Any]:
        """Returns the reply of a job that succeeds. Raises WorkerError."""
        is_streamed = emit is not None
        if self._limits_of is None:
            limits = Limits(PIECE_LIMIT_BYTES if is_streamed else None, None)
        else:
            limits = self._limits_of(job_id, is_streamed)
        route = openai_route(event)
        if route is None:
            reply = self._operation_reply(event, parse_job(event, job_id), emit, limits, cancel)
        else:
            reply = self._openai_reply(event, route, job_id, emit, limits, cancel)
        check_sendable(reply, limits.reply_bytes)
        return reply

    def _operation_reply(
        self, event: object, job: Job, emit: Emit | None, limits: Limits, cancel: CancelToken
    ) -> dict[str, Any]:
        if isinstance(job.request, TtsRequest | ConvertVoiceRequest):
            return self._speech_reply(event, job, job.request, emit, limits, cancel)
        return self._facts_reply(job, limits, cancel)

    def _openai_reply(
        self,
        event: object,
        route: OpenAIRoute,
        job_id: str,
        emit: Emit | None,
        limits: Limits,
        cancel: CancelToken,
    ) -> dict[str, Any]:
        """Returns the reply to a request that came by the platform's route for OpenAI's clients."""
        services = self.services()
        models = services.models.languages
        if route.path == MODELS_PATH:
            return models_list(models, created=0)
        if route.path == VOICES_PATH:
            return voices_list(services.voices.list())
        speech = parse_openai_request(route.fields, models, mode="basic")
        if speech.stream_format != "audio":
            raise InvalidRequest(
                "'sse' is not possible on a queue endpoint",
                field="stream_format",
                hint="use an endpoint with ENDPOINT_MODE=http",
            )
        request, warnings = speech.with_voice(services)
        fields = {"operation": "tts", **request.model_dump(exclude_unset=True, exclude_none=True)}
        job = parse_job({"input": fields}, job_id)
        try:
            reply = self._operation_reply(event, job, emit, limits, cancel)
        except WorkerError as error:
            error.problems = openai_problems(error.problems)
            raise
        kind = content_type(request.format, request.sample_rate)
        return {**reply, "content_type": kind, "warnings": [*warnings, *reply.get("warnings", [])]}

    def _speech_reply(
        self,
        event: object,
        job: Job,
        request: TtsRequest | ConvertVoiceRequest,
        emit: Emit | None,
        limits: Limits,
        cancel: CancelToken,
    ) -> dict[str, Any]:
        text = "\n".join(request.texts) if isinstance(request, TtsRequest) else ""
        is_streamed = request.mode == "streaming"
        if is_streamed:
            assert isinstance(request, TtsRequest)  # the other one has no such mode
            check_streaming(request, can_stream=emit is not None)
        target = self.delivery.validate(
            request.delivery,
            job.id,
            cancel,
            s3_config=job.s3_config,
            job_input=self._repeatable_input(job),
        )
        if not is_streamed:
            if (known := self.delivery.previous_result(target, cancel)) is not None:
                # A record has no text: that of the job is the same.
                spoken = {"text": text} if isinstance(request, TtsRequest) else {}
                return {**known, **spoken, "warnings": [*job.warnings, *known["warnings"]]}
            if isinstance(request, TtsRequest) and not self.delivery.has_room_beside_the_reply(target):
                check_length(request, limits)
        services = self.services()
        speech = job.operation.run(request, services, cancel)
        assert isinstance(speech, SpeechResult)
        speech.warnings[:0] = job.warnings
        way = Way(target, self.delivery, limits, cancel)
        if is_streamed:
            assert emit is not None  # check_streaming saw to that
            return stream_reply(speech, way, emit, posted_bytes(text))
        return whole_reply(speech, way, self._reporter(event) if emit is None else None)

    def _facts_reply(self, job: Job, limits: Limits, cancel: CancelToken) -> dict[str, Any]:
        """Returns the reply of every operation that does not speak."""
        target = None
        if isinstance(job.request, GetVoiceRequest) and job.request.include_audio:
            target = self.delivery.validate("auto", job.id, cancel, s3_config=job.s3_config)
        services = self.services()
        result = job.operation.run(job.request, services, cancel)
        assert isinstance(result, Result)
        reply = complete(result.facts, services.models.notices)
        if job.warnings:
            reply["warnings"] = [*job.warnings, *reply.get("warnings", [])]
        if isinstance(job.request, ListVoicesRequest):
            cut_list(reply, job.request.offset, limits)
        if result.preview is not None:
            add_preview(reply, result.preview, limits)
        if result.recording is not None:
            assert target is not None
            reply |= {"format": "flac", "sample_rate": result.recording.sample_rate_hz}
            delivered = self.delivery.deliver(
                encode_lossless(result.recording),
                target,
                extension="flac",
                content_type=content_type("flac", result.recording.sample_rate_hz),
                reply=reply,
                limit_bytes=limits.reply_bytes,
                hint=EXPORT_INSTEAD,
                cancel=cancel,
            )
            reply["warnings"].extend(delivered.warnings)
            reply |= delivered.fields()
        if result.kept_preview is not None:
            add_kept_preview(reply, result.kept_preview, limits)
        return reply

    def _repeatable_input(self, job: Job) -> Mapping[str, Any] | None:
        """What tells a job that the platform hands out again from another one with its id.

        None where jobs share one id, as local ones do.
        """
        if self._limits_of is None:
            return None
        s3_config = job.s3_config or {}
        return {**job.input, "s3Config": {key: s3_config.get(key) for key in ("endpointUrl", "bucketName")}}

    def _reporter(self, event: object) -> Callable[[Mapping[str, Any]], None] | None:
        report = self.report_progress
        if report is None or not isinstance(event, Mapping):
            return None
        return lambda progress: report(event, progress)


def _log_outcome(
    event: object, model: str, reply: Mapping[str, Any], *, waited_s: float, took_s: float
) -> None:
    """Logs one line, in which nothing of the caller's but the operation's name appears."""
    job_input = event.get("input") if isinstance(event, Mapping) else None
    fields = job_input if isinstance(job_input, Mapping) else {}
    operation = fields.get("operation")
    stages = reply.get("metrics", {}).get("stages", {})
    log.info(
        "done operation=%s characters=%d audio_s=%.3f waited_s=%.3f took_s=%.3f outcome=%s model=%s%s",
        printable_excerpt(operation) if isinstance(operation, str) else logs.NONE,
        _characters(fields),
        reply.get("duration", 0.0),
        waited_s,
        took_s,
        reply.get("error_code", "ok"),
        model,
        "".join(f" {stage}_s={time_s:.3f}" for stage, time_s in stages.items()),
    )


def _characters(fields: Mapping[str, Any]) -> int:
    """Returns how many characters a job speaks, whose fields nobody has checked."""
    turns = fields.get("turns")
    speakers = [fields, *(turns if isinstance(turns, list) else [])]
    texts = [each.get("text") for each in speakers if isinstance(each, Mapping)]
    return sum(len(text) for text in texts if isinstance(text, str))
