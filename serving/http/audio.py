"""Speech as an HTTP reply that begins with the first audio: a file while it is made, or events."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from audio.encode import StreamEncoder, content_type
from cancel import CancelToken
from errors import Internal, WorkerError
from operations import find_operation
from operations.base import Services
from operations.request import Request
from operations.speech_result import SpeechResult
from serving.envelope import complete
from serving.handover import Handover
from serving.http.connection import StreamedResponse
from serving.http.errors import Refused, error_response, openai_error
from serving.http.gate import Gate
from serving.http.metrics import Metrics
from serving.job_worker import JobWorker
from serving.openai import StreamFormat, openai_name
from version import WORKER

MAX_PARTS_AHEAD = 4  # encoded, and not yet sent: a reader that is slow stops the work, not the memory
TOKENS_A_SECOND = 25  # of speech, which the events count as OpenAI's do
MAX_HEADER_CHARS = 4096  # of all warnings; the receipt has them whole

# Chooses the voice, in the job's thread; returns the request and warnings about the choice.
Prepare = Callable[[Services], tuple[Request, list[str]]]


@dataclass(frozen=True)
class AudioStart:
    """What is known of the speech when its first audio is there."""

    content_type: str
    facts: Mapping[str, Any]  # of the receipt
    warnings: tuple[str, ...]


@dataclass
class SpeechJob:
    """One job that speaks, and what it hands over: an AudioStart, and then parts of the file."""

    worker: JobWorker
    operation: str
    prepare: Prepare
    job_id: str
    event: Mapping[str, Any]  # for the log
    error: WorkerError | None = None  # that the job ended with
    receipt: Mapping[str, Any] = field(default_factory=dict)  # once the job has ended well

    async def parts(self) -> AsyncGenerator[AudioStart | bytes]:
        """Yields what the job makes; ends early when the job fails. Closing it ends the job."""
        handover = Handover[AudioStart | bytes](MAX_PARTS_AHEAD)
        work = functools.partial(self._work, handover)
        reply = asyncio.ensure_future(self.worker.run(self.event, self.job_id, work))
        async with aclosing(handover.items(reply)) as items:
            async for item in items:
                yield item
        answer = reply.result()
        if "error" not in answer:
            self.receipt = answer
        elif self.error is None:  # it never ran, or failed by a fault of the worker
            self.error = failure_of(answer)

    def _work(self, handover: Handover[AudioStart | bytes], cancel: CancelToken) -> dict[str, Any]:
        """Speaks, in the job's thread; returns the receipt."""
        try:
            services = self.worker.services()
            request, warnings = self.prepare(services)
            speech = find_operation(self.operation).run(request, services, cancel)
            assert isinstance(speech, SpeechResult)
            speech.warnings[:0] = warnings
            encode_s = self._speak(speech, handover, cancel)
            return complete(speech.receipt(encode_s))
        except WorkerError as error:
            self.error = error
            raise

    def _speak(
        self,
        speech: SpeechResult,
        handover: Handover[AudioStart | bytes],
        cancel: CancelToken,
    ) -> float:
        """Hands over the encoded speech. Returns the seconds that encoding took."""
        encode_s, has_begun = 0.0, False
        with closing(StreamEncoder(speech.format, speech.sample_rate_hz)) as encoder, closing(speech.chunks):
            for chunk in speech.chunks:
                if not has_begun:
                    kind = content_type(speech.format, speech.sample_rate_hz)
                    handover.put(AudioStart(kind, speech.facts, (*speech.warnings, *speech.notices)), cancel)
                    has_begun = True
                start_s = time.perf_counter()
                part = encoder.add(chunk.with_pause().samples)
                encode_s += time.perf_counter() - start_s
                if part:
                    handover.put(part, cancel)
            start_s = time.perf_counter()
            part = encoder.finish()
            encode_s += time.perf_counter() - start_s
            if part:
                handover.put(part, cancel)
        return encode_s


class SpeechResponse(StreamedResponse):
    """The reply with a job's audio.

    Nothing is sent before the first audio is there, so that a job that fails until then has an HTTP status
    of its own. One that fails later cuts the connection, or ends the events with an error.
    """

    def __init__(
        self, job: SpeechJob, gate: Gate, metrics: Metrics, stream_format: StreamFormat = "audio"
    ) -> None:
        self._job, self._gate, self._metrics, self._is_sse = job, gate, metrics, stream_format == "sse"
        super().__init__()
        self._started_s = time.perf_counter()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun, outcome = False, "cancelled"
        try:
            async with self._gate.place(), aclosing(self._job.parts()) as parts:
                async for part in parts:
                    if isinstance(part, AudioStart):
                        has_begun = True
                        self._metrics.first_audio.observe(time.perf_counter() - self._started_s)
                        headers = self._headers_of(part)
                        await send({"type": "http.response.start", "status": 200, "headers": headers})
                    else:
                        await send(_body(self._delta(part) if self._is_sse else part, more=True))
            outcome = "ok" if self._job.error is None else self._job.error.code
        except Refused as refused:
            self._job.error, outcome = refused, refused.code
        finally:
            took_s = time.perf_counter() - self._started_s
            self._metrics.ended(self._job.operation, outcome, took_s, self._job.receipt)
        error = self._job.error
        if error is not None and not has_begun:
            rename = openai_name if "openai" in self._job.event else str
            response = error_response(self._gate.translated(error), scope["path"], rename=rename)
            await response(scope, receive, send)
        elif self._is_sse:
            await send(_body(self._end(error), more=False))
        elif error is None:
            await send(_body(b"", more=False))
        # Else the reply is left unfinished: the server cuts the connection, and the client sees that.

    def _headers_of(self, start: AudioStart) -> list[tuple[bytes, bytes]]:
        facts = start.facts
        voice = facts["voice"] or {}
        headers = {
            "content-type": "text/event-stream; charset=utf-8" if self._is_sse else start.content_type,
            "cache-control": "no-store",
            "x-accel-buffering": "no",  # proxies pass on what comes
            "x-seed": str(facts["seed"]),
            "x-model": facts["model"]["variant"],
            "x-worker-version": WORKER,
        }
        if voice.get("voice_id"):
            headers["x-voice-id"] = voice["voice_id"]
        if start.warnings:
            headers["x-warnings"] = _header_list(start.warnings)
        return [(name.encode(), value.encode("ascii")) for name, value in headers.items()]

    def _delta(self, part: bytes) -> bytes:
        return event({"type": "speech.audio.delta", "audio": base64.b64encode(part).decode("ascii")})

    def _end(self, error: WorkerError | None) -> bytes:
        """Returns the last event."""
        if error is not None:
            return event({"type": "error", **openai_error(error, openai_name)})
        receipt = self._job.receipt
        counts = {
            "input_tokens": len(receipt["text"]),
            "output_tokens": round(TOKENS_A_SECOND * receipt["duration"]),
        }
        usage = {**counts, "total_tokens": sum(counts.values())}
        return event({"type": "speech.audio.done", "usage": usage, "receipt": receipt})


def _header_list(warnings: Sequence[str]) -> str:
    """Returns as many of the warnings as a header holds, as a JSON list."""
    while len(text := json.dumps(warnings)) > MAX_HEADER_CHARS:
        warnings = warnings[:-1]
    return text


def event(content: Mapping[str, Any]) -> bytes:
    """Returns a server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def failure_of(reply: Mapping[str, Any]) -> WorkerError:
    """Returns the error of a reply that has one, for a transport that renders it again."""
    sentence = str(reply["error"]).removeprefix(f"{reply['error_code']}: ")
    error: WorkerError = Internal(sentence)
    error.code = reply["error_code"]  # type: ignore[misc]
    return error


def _body(content: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}
