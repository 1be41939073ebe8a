"""The routes of the HTTP server."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from audio.encode import content_type
from audio.waveform import MODEL_SAMPLE_RATE_HZ
from errors import InvalidRequest, Problem, WorkerError
from operations import OLD_NAMES, OPERATIONS, find_operation, in_current_terms, request_schemas
from operations.clone_voice import PREVIEW_SEED, PREVIEW_TEXT
from operations.reference import MAX_SAMPLES
from operations.request import AnyRequest, did_you_mean, parse_request
from operations.tts import TtsRequest
from serving.envelope import PIECE_LIMIT_BYTES, Limits, error_reply
from serving.health import WorkerHealth
from serving.http.audio import SpeechJob, SpeechResponse, event, failure_of
from serving.http.connection import ClientGone, StreamedResponse, unless_gone
from serving.http.errors import Refused, error_headers, error_response, status_of
from serving.http.gate import Gate
from serving.http.guard import MAX_BODY_BYTES, Guard
from serving.http.metrics import CONTENT_TYPE, Metrics
from serving.job_worker import JobWorker
from serving.jobs import STOP_GRACE_S, JobRunner
from serving.openai import (
    OPENAI_MODELS,
    model_entry,
    models_list,
    openai_name,
    parse_openai_request,
    speech_schema,
    voices_list,
)
from settings import Settings
from version import VERSION

STORE_OPERATIONS = frozenset({"list_voices", "get_voice", "update_voice", "delete_voice"})
SPEECH_OPERATIONS = frozenset({"tts", "convert_voice"})
STORE_THREADS = 4
MAX_FORM_FIELDS, MAX_FORM_FILES = 20, 10
MAX_SAID_CHARS = 200  # of what a library says about a body
MAX_FIELDS = 100  # of a request: no operation has so many
SCHEMAS = "#/components/schemas/{model}"
# What a multipart request for a voice may hold, and what ``clone_voice`` calls it.
VOICE_FORM = {
    "name": "voice_name",
    "gender": "gender",
    "language": "language",
    "description": "voice_description",
}
VOICE_FORM_FIELDS = (*VOICE_FORM, "keep_preview", "audio_sample", "consent")
FORM = "multipart/form-data"
VOICE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["name", "audio_sample"],
    "properties": {
        **{name: {"type": "string"} for name in (*VOICE_FORM, "consent")},
        "keep_preview": {"type": "string", "enum": ["true", "false"], "default": "false"},
        "audio_sample": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": MAX_SAMPLES,
        },
    },
    "additionalProperties": False,
}
PREVIEW_FORMAT = "mp3"
EVENTS_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # proxies pass on what comes
    ],
}
STATIC = Path(__file__).with_name("static")
# The page loads nothing from another host, and no other page may frame it.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FORM_SENDER = "the sender of the request"  # a form has no more to say of who consents
CLIENT_GONE = 499  # what others log for a reply that nobody reads; it is not sent


def http_limits(_job_id: str, is_streamed: bool) -> Limits:
    """Returns the limits of a job behind the platform's load balancer."""
    return Limits(PIECE_LIMIT_BYTES if is_streamed else MAX_BODY_BYTES, None)


class Routes:
    """Answers requests with a worker's jobs."""

    def __init__(self, worker: JobWorker, settings: Settings, gate: Gate, metrics: Metrics) -> None:
        self._worker, self._gate, self._metrics = worker, gate, metrics
        self._names = tuple(source.name for source in settings.models)
        self._requires_consent = settings.require_consent
        # Lists of voices do not wait for speech.
        self._store_runner = JobRunner(
            worker.health,
            max_concurrency=STORE_THREADS,
            timeout_s=settings.job_timeout_s,
            stop_grace_s=STOP_GRACE_S,
        )
        self._started = int(time.time())

    async def ping(self) -> Response:
        """The platform's health check: 204 while the model is loaded, 200 when it speaks, else 503."""
        return Response(status_code=self._gate.status)

    async def metrics(self) -> Response:
        """Jobs, times, audio and memory, for Prometheus."""
        return Response(await asyncio.to_thread(self._metrics.render), media_type=CONTENT_TYPE)

    async def speech(self, request: Request) -> Response:
        """Speaks a text as OpenAI's API does; the audio is sent while it is made."""
        fields = await read_json(request)
        if fields.get("delivery") is not None:
            raise InvalidRequest("has no effect here", field="delivery", hint="the audio is the reply")
        speech = await asyncio.to_thread(parse_openai_request, fields, self._names)
        if speech.stream_format == "audio":
            unsent = _without_receipt(speech.request, 'stream_format "sse"')
            speech = replace(speech, warnings=(*speech.warnings, *unsent))
        job = SpeechJob(
            self._worker,
            "tts",
            speech.with_voice,
            request.state.request_id,
            {"input": {"operation": "tts", "text": _text_of(speech.request)}, "openai": True},
        )
        return SpeechResponse(job, self._gate, self._metrics, speech.stream_format)

    async def models(self) -> dict[str, Any]:
        """The models of this worker, and names of OpenAI's that mean any of them."""
        return models_list(self._models(), self._started)

    async def model(self, model: str) -> dict[str, Any]:
        """One model."""
        if model not in (*self._names, *OPENAI_MODELS):
            raise Refused(
                "not_found", "there is no such model", hint=f"the models are {', '.join(self._names)}"
            )
        return model_entry(model, self._models(), self._started)

    def _models(self) -> Mapping[str, Sequence[str]]:
        """Languages by model; none are known before the models are loaded."""
        if not self._gate.is_ready:
            return dict.fromkeys(self._names, ())
        return self._worker.services().models.languages

    async def voices(self, request: Request) -> dict[str, Any]:
        """All stored voices."""
        reply = await self._facts("list_voices", {}, request)
        return voices_list(reply["voices"])

    async def add_voice(self, request: Request) -> dict[str, Any]:
        """Clones a voice: ``name`` and ``audio_sample``, a recording or up to five, as multipart fields."""
        fields = {**await read_voice_form(request), "preview": False}
        if self._requires_consent and "consent" not in fields:
            hint = "send the words of whoever agreed, as a text"
            raise InvalidRequest("is required on this endpoint", field="consent", hint=hint)
        try:
            await asyncio.to_thread(parse_request, find_operation("clone_voice").request, "a voice", fields)
            reply = await self._facts("clone_voice", fields, request)
        except WorkerError as error:
            raise _in_form_terms(error) from None
        quality = reply["quality"]
        quality["warnings"] = list(map(_in_form_words, quality["warnings"]))
        info = reply["voice_info"]
        created = datetime.fromisoformat(info["created_at"]).replace(tzinfo=UTC)
        return {
            "object": "audio.voice",
            "id": reply["voice_id"],
            "name": reply["voice_name"],
            "created_at": int(created.timestamp()),
            "quality": quality,
            **{name: reply[name] for name in ("samples", "preview_kept") if name in reply},
            "warnings": list(map(_in_form_words, reply["warnings"])),
        }

    async def delete_voice(self, voice: str, request: Request) -> dict[str, Any]:
        """Deletes a voice, by its id."""
        await self._facts("delete_voice", {"voice_id": voice, "confirm": True}, request)
        return {"object": "audio.voice.deleted", "id": voice, "deleted": True}

    async def preview(self, voice: str, request: Request) -> Response:
        """A sentence in a stored voice: the preview that was kept when it was cloned, else spoken now."""
        stored = await self._facts("get_voice", {"voice_id": voice, "include_preview": True}, request)
        if "preview" in stored:
            headers = {"cache-control": "no-store", "x-voice-id": voice}
            content = await asyncio.to_thread(base64.b64decode, stored["preview"])
            return Response(content, media_type=content_type("flac", MODEL_SAMPLE_RATE_HZ), headers=headers)
        spoken = parse_request(
            TtsRequest,
            "preview",
            {"text": PREVIEW_TEXT, "seed": PREVIEW_SEED, "voice_id": voice, "format": PREVIEW_FORMAT},
        )
        return self._speak("tts", spoken, request)

    async def job(self, operation: str, request: Request) -> Response:
        """Does an operation. The body has its fields, and the answer is the queue's reply.

        A job that speaks and accepts ``audio/*`` is answered with the audio itself, and a tts job with mode
        "streaming" with server-sent events.
        """
        name = OLD_NAMES.get(operation, operation)
        found = find_operation(name)
        fields = await read_json(request)
        if "operation" in fields:
            raise InvalidRequest("is not a field here", field="operation", hint="it is in the address")
        if name in SPEECH_OPERATIONS:
            _, current, warnings = in_current_terms(operation, fields)
            if _wants_audio(request):
                spoken = await asyncio.to_thread(parse_request, found.request, name, current)
                return self._speak(name, spoken, request, warnings)
            if name == "tts" and current.get("mode") == "streaming":
                job_event = self._event(operation, fields, request)
                return EventsResponse(job_event, self._worker, self._gate, self._metrics)
        reply = await self._reply(operation, fields, request)
        status = status_of(reply["error_code"]) if "error" in reply else 200
        return JSONResponse(reply, status, error_headers(status))

    def _speak(
        self, operation: str, spoken: AnyRequest, request: Request, warnings: Iterable[str] = ()
    ) -> Response:
        warnings = [*warnings, *_without_receipt(spoken, "Accept: application/json")]
        job = SpeechJob(
            self._worker,
            operation,
            lambda _: (spoken, warnings),
            request.state.request_id,
            {"input": {"operation": operation, "text": _text_of(spoken)}},
        )
        return SpeechResponse(job, self._gate, self._metrics)

    @staticmethod
    def _event(operation: str, fields: Mapping[str, Any], request: Request) -> dict[str, Any]:
        return {"id": _job_id(request), "input": {**fields, "operation": operation}}

    async def _reply(self, operation: str, fields: Mapping[str, Any], request: Request) -> dict[str, Any]:
        """Returns an operation's reply. Ends the job when the client goes away."""
        request.state.is_job = True
        started_s = time.perf_counter()
        name = OLD_NAMES.get(operation, operation)
        is_quick = name in STORE_OPERATIONS
        job_event = self._event(operation, fields, request)
        try:
            async with self._gate.place(self._gate.store if is_quick else self._gate.device):
                work = self._worker.handle(job_event, self._store_runner if is_quick else None)
                reply = await unless_gone(request.receive, work)
        except Refused as refused:
            self._metrics.ended(name, refused.code, time.perf_counter() - started_s)
            raise
        if "error" in reply:
            error = self._gate.translated(failure_of(reply))
            reply = error_reply(error)
        self._metrics.ended(name, reply.get("error_code", "ok"), time.perf_counter() - started_s, reply)
        return reply

    async def _facts(self, operation: str, fields: Mapping[str, Any], request: Request) -> dict[str, Any]:
        """Returns an operation's reply. Raises WorkerError when it failed."""
        reply = await self._reply(operation, fields, request)
        if "error" in reply:
            raise failure_of(reply)
        return reply


class EventsResponse(StreamedResponse):
    """The pieces of a streamed job as server-sent events, the last of which is the receipt."""

    def __init__(self, job_event: Mapping[str, Any], worker: JobWorker, gate: Gate, metrics: Metrics) -> None:
        self._event, self._worker, self._gate, self._metrics = job_event, worker, gate, metrics
        super().__init__()
        self._started_s = time.perf_counter()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        last: Mapping[str, Any] = {"error_code": "cancelled"}
        has_begun = False
        async with self._gate.place():
            try:
                async with aclosing(self._worker.stream(self._event)) as pieces:
                    async for last in pieces:
                        if not has_begun:
                            if "error" in last:
                                error = self._gate.translated(failure_of(last))
                                await error_response(error, scope["path"])(scope, receive, send)
                                return
                            has_begun = True
                            self._metrics.first_audio.observe(time.perf_counter() - self._started_s)
                            await send(EVENTS_START)
                        await send({"type": "http.response.body", "body": event(last), "more_body": True})
            finally:
                took_s = time.perf_counter() - self._started_s
                outcome = "ok" if "pieces" in last else last.get("error_code", "cancelled")
                self._metrics.ended("tts", outcome, took_s, last)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def read_json(request: Request) -> dict[str, Any]:
    """Returns the fields of a request's body, a JSON object. Raises InvalidRequest."""
    body = await request.body()
    try:
        fields = await asyncio.to_thread(json.loads, body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        hint = "send a JSON object, in UTF-8"
        said = f"the body cannot be read as JSON: {error}"[:MAX_SAID_CHARS]
        raise InvalidRequest(said, hint=hint) from None
    if not isinstance(fields, dict):
        raise InvalidRequest("the body must be a JSON object")
    if len(fields) > MAX_FIELDS:
        raise InvalidRequest(f"the body has {len(fields)} fields: no operation has more than {MAX_FIELDS}")
    if request.state.has_own_id:
        digest = await asyncio.to_thread(hashlib.sha256, body)
        request.state.body_digest = digest.hexdigest()[:16]
    return fields


def _job_id(request: Request) -> str:
    """Returns the id of a request's job, after which audio on the volume is named.

    Callers may use an id of their own again: with another body it is another job.
    """
    digest = getattr(request.state, "body_digest", None)
    return request.state.request_id if digest is None else f"{request.state.request_id}-{digest}"


async def read_voice_form(request: Request) -> dict[str, Any]:
    """Returns the fields of ``clone_voice`` that a multipart request holds. Raises InvalidRequest."""
    try:
        async with request.form(max_files=MAX_FORM_FILES, max_fields=MAX_FORM_FIELDS) as form:
            problems = [
                Problem("is not a field of a voice", name[:100], did_you_mean(name, VOICE_FORM_FIELDS))
                for name in form
                if name not in VOICE_FORM_FIELDS
            ]
            samples = [sample for sample in form.getlist("audio_sample") if not isinstance(sample, str)]
            if len(samples) != len(form.getlist("audio_sample")) or not samples:
                problems.append(Problem("is required", "audio_sample", "send a recording as a file"))
            problems += [
                Problem("must be a text, not a file", name)
                for name, value in form.items()
                if name != "audio_sample" and not isinstance(value, str)
            ]
            keep_preview = form.get("keep_preview", "false")
            if keep_preview not in ("true", "false"):
                problems.append(Problem("must be true or false", "keep_preview"))
            if problems:
                raise InvalidRequest.of(problems)
            recordings = [base64.b64encode(await sample.read()).decode("ascii") for sample in samples]
            fields: dict[str, Any] = {
                VOICE_FORM[name]: value for name, value in form.items() if name in VOICE_FORM
            }
            fields["keep_preview"] = keep_preview == "true"
            if statement := str(form.get("consent", "")).strip():
                today = datetime.now(UTC).date().isoformat()
                fields["consent"] = {"by": FORM_SENDER, "date": today, "statement": statement}
    except (HTTPException, MultiPartException) as error:
        reason = error.detail if isinstance(error, HTTPException) else error.message
        raise InvalidRequest(f"the form cannot be read: {reason}"[:200], hint=f"send {FORM}") from None
    if len(recordings) == 1:
        return {**fields, "reference_audio": recordings[0]}
    return {**fields, "samples": [{"audio": recording} for recording in recordings]}


def _in_form_terms(error: WorkerError) -> WorkerError:
    """Returns an error about a voice in the words of the form that it came by."""
    names = {ours: theirs for theirs, ours in VOICE_FORM.items()}
    names |= {"reference_audio": "audio_sample", "samples": "audio_sample"}
    if isinstance(error, InvalidRequest):
        named = [replace(one, field=one.field and names.get(one.field, one.field)) for one in error.problems]
        return InvalidRequest.of(named)
    sentence = _in_form_words(error.message)
    for ours, theirs in names.items():
        if ours != "samples":  # which errors also call the numbers that audio is made of
            sentence = re.sub(rf"\b{ours}\b", theirs, sentence)
    return failure_of({"error": sentence, "error_code": error.code})


def _in_form_words(sentence: str) -> str:
    """Returns an error or a warning about a recording with the form's name of that."""
    sentence = re.sub(r"^samples have\b", "audio_sample has", sentence)
    sentence = re.sub(r"^reference_audio\b|^samples\b(?!\[)", "audio_sample", sentence)
    return re.sub(r"\bsamples(\[\d+\])(\.audio\b)?", r"audio_sample\1", sentence)


def build_app(worker: JobWorker, settings: Settings, gate: Gate, metrics: Metrics) -> ASGIApp:
    """Returns the application."""
    routes = Routes(worker, settings, gate, metrics)
    app = FastAPIOffline(
        title="Chatterbox Voice Worker",
        version=VERSION,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url="/docs/oauth2-redirect",
    )
    schemas, definitions = request_schemas(SCHEMAS)
    add = app.add_api_route
    add("/", _page, methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC))
    add("/ping", routes.ping, methods=["GET"], response_class=Response)
    add("/ping", routes.ping, methods=["HEAD"], response_class=Response, include_in_schema=False)
    add("/metrics", routes.metrics, response_class=Response)
    speech = speech_schema(definitions["TtsRequest"])
    add("/v1/audio/speech", routes.speech, methods=["POST"], openapi_extra=_body_of(speech))
    add("/v1/models", routes.models)
    add("/v1/models/{model}", routes.model)
    add("/v1/audio/voices", routes.voices)
    add("/v1/audio/voices", routes.add_voice, methods=["POST"], openapi_extra=_body_of(VOICE_SCHEMA, FORM))
    add("/v1/audio/voices/{voice}", routes.delete_voice, methods=["DELETE"])
    add("/v1/audio/voices/{voice}/preview", routes.preview, response_class=Response)
    for name in OPERATIONS:
        add(
            f"/jobs/{name}",
            functools.partial(routes.job, name),
            methods=["POST"],
            name=name,
            openapi_extra=_body_of(schemas[name]),
        )
    add("/jobs/{operation}", routes.job, methods=["POST"], include_in_schema=False)
    app.add_exception_handler(WorkerError, functools.partial(_failed, metrics))
    app.add_exception_handler(HTTPException, _no_route)
    for gone in (ClientGone, ClientDisconnect):  # while it was answered, or while it sent its body
        app.add_exception_handler(gone, lambda _request, _error: Response(status_code=CLIENT_GONE))
    _describe(app, definitions)
    guarded: ASGIApp = Guard(app, settings.http, is_behind_platform=settings.on_platform)
    if settings.http.cors_origins:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=settings.http.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    return guarded


def build_health_app(gate: Gate) -> ASGIApp:
    """Returns the application of a port that has /ping alone."""
    app = FastAPI(openapi_url=None)
    app.add_api_route("/ping", lambda: Response(status_code=gate.status))
    return app


def new_gate(health: WorkerHealth, settings: Settings) -> Gate:
    """Returns a gate for as many jobs as run and wait by the settings."""
    return Gate(health, settings.max_concurrency + settings.http.max_queued_jobs)


def _describe(app: FastAPI, definitions: Mapping[str, Any]) -> None:
    """Adds the schemas of requests to what /openapi.json says."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        schema = describe()
        schema.setdefault("components", {}).setdefault("schemas", {}).update(definitions)
        return schema

    app.openapi = described  # type: ignore[method-assign]


def _body_of(schema: Mapping[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


async def _page() -> Response:
    return FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": PAGE_POLICY})


async def _failed(metrics: Metrics, request: Request, error: Exception) -> Response:
    assert isinstance(error, WorkerError)
    path = request.url.path
    if not getattr(request.state, "is_job", False):  # which is counted already
        metrics.refused(error.code)
    return error_response(error, path, rename=openai_name if path == "/v1/audio/speech" else str)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    refused = Refused(code, str(error.detail), hint="see /docs for the routes")
    return error_response(refused, request.url.path)


def _text_of(request: AnyRequest) -> str:
    """Returns all that a job says, for the log to count its characters."""
    return "\n".join(request.texts) if isinstance(request, TtsRequest) else ""


def _without_receipt(request: AnyRequest, instead: str) -> list[str]:
    """Returns warnings about what only a receipt holds, for a reply that has none. instead: has one."""
    if not isinstance(request, TtsRequest):
        return []
    unsent = [name for name in ("timestamps", "subtitles") if getattr(request, name) != "none"]
    return [f"{name} are in the receipt, which audio alone does not have: send {instead}" for name in unsent]


def _wants_audio(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return any(kind.strip().startswith("audio/") for kind in accepted.split(","))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
