"""An OpenAI-compatible server on this machine in front of a queue endpoint.

A queue carries JSON alone, and OpenAI's SDKs want audio: this server turns one into the other. The worker
itself reads the request, so that voices, fields and errors are those of its own HTTP server.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import ipaddress
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from chatterbox_voice.client import AsyncClient, AsyncSpeechStream
from chatterbox_voice.errors import InvalidRequest, JobFailed, TooLarge, VoiceWorkerError
from chatterbox_voice.formats import media_type
from chatterbox_voice.operations import text_chars
from chatterbox_voice.replies import number

SPEECH_PATH, MODELS_PATH, VOICES_PATH = "/v1/audio/speech", "/v1/models", "/v1/audio/voices"
# The names of OpenAI's that any worker takes for its model. They are listed without a question to the
# endpoint, since that would start a worker.
MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
OWNER = "chatterbox-voice-worker"
MAX_BODY_BYTES = 10_000_000  # what a job of the queue may have
FIELDS = frozenset(
    {"input", "turns", "voice", "model", "response_format", "speed", "stream_format", "instructions"}
)
STREAM_FORMATS = ("audio", "sse")
TOKENS_A_SECOND = 25  # of speech, which the events count as OpenAI's do
STATUS: Mapping[str, int] = {
    "invalid_request": 400,
    "unknown_operation": 400,
    "unsupported_language": 400,
    "reference_invalid": 400,
    "reference_too_short": 400,
    "text_too_long": 400,
    "fetch_refused": 400,
    "fetch_failed": 400,
    "forbidden": 403,
    "not_found": 404,
    "voice_not_found": 404,
    "request_too_large": 413,
    "output_too_large": 413,
    "audio_elsewhere": 413,
    "rate_limited": 429,
    "internal": 500,
    "failed": 500,
    "store_corrupt": 500,
    "unavailable": 503,
    "model_unavailable": 503,
    "store_unavailable": 503,
    "out_of_memory": 503,
    "cancelled": 504,
    "timed_out": 504,
    "call_timed_out": 504,
}
OTHER_STATUS = 502  # the endpoint could not be asked
RETRY_AFTER_S = "5"  # after status 503

log = logging.getLogger(__name__)


def build_app(client: AsyncClient, api_key: str | None = None) -> ASGIApp:
    """Returns the application. client: of a queue endpoint. api_key: that requests need; None: none."""
    bridge = _Bridge(client)
    routes = [
        Route(SPEECH_PATH, bridge.speech, methods=["POST"]),
        Route(MODELS_PATH, bridge.models),
        Route(MODELS_PATH + "/{model}", bridge.model),
        Route(VOICES_PATH, bridge.voices),
    ]
    handlers: Mapping[Any, Any] = {VoiceWorkerError: _failed, HTTPException: _no_route}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), api_key)


class _Bridge:
    """Answers requests with jobs of the endpoint."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def speech(self, request: Request) -> Response:
        """Speaks a text; the audio is sent while it comes."""
        fields = await _read_json(request)
        stream_format = fields.pop("stream_format", None) or "audio"
        if stream_format not in STREAM_FORMATS:
            raise InvalidRequest(f"stream_format must be one of {', '.join(STREAM_FORMATS)}")
        stream = self._client.stream_job({"openai_route": SPEECH_PATH, "openai_input": fields})
        return _SpeechResponse(stream, text_chars(fields, "input"), stream_format == "sse")

    async def models(self, _request: Request) -> Response:
        """Lists the models."""
        return JSONResponse({"object": "list", "data": [_model(name) for name in MODELS]})

    async def model(self, request: Request) -> Response:
        """Describes one model."""
        name = request.path_params["model"]
        if name not in MODELS:
            raise HTTPException(404)
        return JSONResponse(_model(name))

    async def voices(self, _request: Request) -> Response:
        """Lists the stored voices."""
        voices = await self._client.voices()
        listed = [{"id": voice.id, "name": voice.name} for voice in voices]
        return JSONResponse({"object": "list", "data": listed, "voices": listed})


class _SpeechResponse(Response):
    """Audio that is sent while it comes.

    Nothing is sent before the first audio is there, so that a job that fails until then has an HTTP status.
    One that fails later leaves the reply unfinished, which clients see. A client that goes away ends the job.
    """

    def __init__(self, stream: AsyncSpeechStream, text_chars: int, is_sse: bool) -> None:
        self._stream, self._text_chars, self._is_sse = stream, text_chars, is_sse
        super().__init__()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:

            async def end_when_gone() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(end_when_gone)
            async with self._stream:
                await self._send(scope, receive, send)
            group.cancel_scope.cancel()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False
        try:
            async for part in self._stream:
                if not has_begun:
                    await send(
                        {"type": "http.response.start", "status": 200, "headers": self._start_headers()}
                    )
                    has_begun = True
                await _send_body(send, self._delta(part) if self._is_sse else part)
        except VoiceWorkerError as error:
            log.warning("%s", error)
            if not has_begun:
                await error_response(error)(scope, receive, send)
            elif self._is_sse:
                await _send_body(send, _event({"type": "error", **openai_error(error)}), more=False)
            return
        if self._is_sse:
            await _send_body(send, self._done())
        await _send_body(send, b"", more=False)

    def _start_headers(self) -> list[tuple[bytes, bytes]]:
        kind = media_type(self._stream.format, self._stream.sample_rate)
        headers = {
            "content-type": "text/event-stream; charset=utf-8" if self._is_sse else kind,
            "cache-control": "no-store",
        }
        return [(name.encode(), value.encode()) for name, value in headers.items()]

    @staticmethod
    def _delta(part: bytes) -> bytes:
        return _event({"type": "speech.audio.delta", "audio": base64.b64encode(part).decode("ascii")})

    def _done(self) -> bytes:
        receipt = self._stream.receipt or {}
        tokens = round(TOKENS_A_SECOND * number(receipt, "duration"))
        usage = {"input_tokens": self._text_chars, "output_tokens": tokens}
        usage["total_tokens"] = sum(usage.values())
        return _event({"type": "speech.audio.done", "usage": usage, "receipt": receipt})


class Guard:
    """Refuses requests of foreign web pages, and those without the key.

    A browser sends requests of any page to this machine. So the Host must be an address or localhost, which
    no foreign page's own name is, and the Origin, where there is one, must be this server.
    """

    def __init__(self, app: ASGIApp, api_key: str | None) -> None:
        self._app, self._digest = app, None if api_key is None else _digest(api_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and (refused := self._refusal(Headers(scope=scope))) is not None:
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> Response | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not _names_an_address(host):
            return _error(403, "forbidden", "the host's name is not this machine's; use 127.0.0.1")
        is_own_page = origin is None or _is_same(origin, host)
        if not is_own_page or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _error(403, "forbidden", "a web page may not use this server")
        if self._digest is not None:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            sent = [token.strip()] if scheme.lower() == "bearer" else []
            sent.append(headers.get("x-api-key", ""))
            if not any(hmac.compare_digest(_digest(key), self._digest) for key in sent):
                return _error(401, "unauthorized", "the key is missing or wrong")
        return None


async def _read_json(request: Request) -> dict[str, Any]:
    """Returns the fields of a request's body. Raises InvalidRequest, TooLarge."""
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge(f"the request has more than {MAX_BODY_BYTES:,} bytes")
    try:
        fields = json.loads(body)
        json.dumps(fields, allow_nan=False)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is not JSON; send a JSON object, in UTF-8") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("the body must be a JSON object")
    return fields


def openai_error(error: VoiceWorkerError) -> dict[str, Any]:
    """Returns an error in OpenAI's shape, in which all four keys are required."""
    return _shape(status_of(error), error.code, error.message, _param(error))


def error_response(error: VoiceWorkerError) -> Response:
    """Returns the reply for a request that failed."""
    return _error(status_of(error), error.code, error.message, _param(error))


def status_of(error: VoiceWorkerError) -> int:
    """Returns the HTTP status for an error: of the worker's own codes the one that its HTTP server gives."""
    return STATUS.get(error.code, 500 if isinstance(error, JobFailed) else OTHER_STATUS)


def _param(error: VoiceWorkerError) -> str | None:
    """Returns the field at fault, with which the worker's sentence begins."""
    name = error.message.partition(" ")[0]
    if name in FIELDS or name.startswith("turns["):
        return name
    return "voice" if error.code == "voice_not_found" else None


def _shape(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _error(status: int, code: str, message: str, param: str | None = None) -> Response:
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": RETRY_AFTER_S}}.get(status, {})
    return JSONResponse(_shape(status, code, message, param), status, headers)


async def _failed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, VoiceWorkerError)
    return error_response(error)


async def _no_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = ", ".join((SPEECH_PATH, MODELS_PATH, VOICES_PATH))
    return _error(error.status_code, "not_found", f"there is no such thing here; the routes are {known}")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}


def _event(content: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def _send_body(send: Send, content: bytes, *, more: bool = True) -> Awaitable[None]:
    return send({"type": "http.response.body", "body": content, "more_body": more})


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _is_same(origin: str, host: str) -> bool:
    with contextlib.suppress(ValueError):
        return urlsplit(origin).netloc.lower() == host.lower()
    return False


def _names_an_address(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name != "localhost":
            ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def serve(client: AsyncClient, port: int, api_key: str | None, announce: Callable[[str], None]) -> None:
    """Serves on 127.0.0.1 until it is interrupted.

    port: 0 takes a free one. announce: is called with the address. Raises OSError for a port that is taken.
    """
    import uvicorn

    listening = socket.create_server(("127.0.0.1", port))
    announce(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
    config = uvicorn.Config(build_app(client, api_key), log_level="warning", lifespan="off")
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run([listening])
