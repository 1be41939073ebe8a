"""The clients: ``Client`` and, for asyncio and trio, ``AsyncClient``."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import anyio
import httpx2

from chatterbox_voice.addresses import find_worker
from chatterbox_voice.flow import Call, Flow, Lost, Open, Part, Progress, Reply, Request, Send, Tell, Wait
from chatterbox_voice.operations import (
    DEFAULT_FORMAT,
    AnyVoice,
    ClonedVoice,
    Operations,
    Recording,
    Recordings,
    Speech,
    Turns,
    Voice,
    WatermarkCheck,
    clone_recordings,
    job,
    recording_fields,
    voice_fields,
)
from chatterbox_voice.replies import strings

TIMEOUT_S = 900.0  # of a call: a cold start of minutes, and a long text
BACKOFF_S = 0.5
POLL_S = 0.25
CONNECT_TIMEOUT_S = 15.0
WRITE_TIMEOUT_S = 60.0
CANCEL_TIMEOUT_S = 5.0  # what a caller who interrupts a call waits for the platform to know

# Errors after which no whole request has arrived.
_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.WriteError,
    httpx2.WriteTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)

OnProgress = Callable[[Progress], None]
T = TypeVar("T")


class _Base:
    """What both clients have in common: their settings, and jobs made of arguments."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        url: str | None = None,
        api_key: str | None = None,
        runpod_api_key: str | None = None,
        streaming: bool | None = None,
        timeout_s: float = TIMEOUT_S,
        backoff_s: float = BACKOFF_S,
        poll_s: float = POLL_S,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Sets the client up. Arguments that are left out come from the environment.

        endpoint: a queue endpoint's id, or its address. VOICE_WORKER_ENDPOINT.
        url: the address of the worker's HTTP server. VOICE_WORKER_URL.
        api_key: for an endpoint RunPod's key, RUNPOD_API_KEY; for a URL the worker's own,
            VOICE_WORKER_API_KEY.
        runpod_api_key: beside ``api_key``, for a load-balancing endpoint: RunPod's key. RUNPOD_API_KEY.
        streaming: whether a queue endpoint has ENDPOINT_MODE=streaming. None: the client finds out.
        timeout_s: of each call, waiting for a worker included; of a stream until its next part.
        backoff_s, poll_s: seconds before the first repetition, and before the first question about a job;
            later ones come after longer pauses.
        on_progress: is called with a ``Progress`` while a call waits.

        Raises ConfigurationError.
        """
        worker = find_worker(endpoint, url, api_key, runpod_api_key)
        self._operations = Operations(worker, is_streaming=streaming)
        self._timeout_s, self._backoff_s, self._poll_s = timeout_s, backoff_s, poll_s
        self._on_progress = on_progress
        self._open()

    def _open(self) -> None:
        """Sets up the connections."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._operations.worker.address!r})"

    def _call(self) -> Call:
        return Call(self._timeout_s, self._backoff_s, self._poll_s, self._on_progress)


def _speech_job(
    text: str | None,
    turns: Turns | None,
    voice: AnyVoice | None,
    voice_id: str | None,
    reference: Recording | None,
    format: str,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    named = {**voice_fields(voice, voice_id), **recording_fields("reference_audio", reference)}
    said = {"text": text, "turns": None if turns is None else [dict(turn) for turn in turns]}
    return job("tts", {**said, "format": format, **named, **fields})


def _clone_job(recordings: Recordings, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return job("clone_voice", {"voice_name": name, **clone_recordings(recordings), **fields})


def _preview_job(voice: AnyVoice | None, voice_id: str | None) -> dict[str, Any]:
    return job("get_voice", {**voice_fields(voice, voice_id), "include_preview": True})


def _convert_job(
    source: Recording,
    voice: AnyVoice | None,
    voice_id: str | None,
    reference: Recording | None,
    format: str,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    sent = {
        **recording_fields("source_audio", source),
        **voice_fields(voice, voice_id),
        **recording_fields("reference_audio", reference),
    }
    return job("convert_voice", {"format": format, **sent, **fields})


def _check_job(recording: Recording) -> dict[str, Any]:
    return job("check_watermark", recording_fields("audio", recording))


def _delete_job(voice: AnyVoice | None, voice_id: str | None) -> dict[str, Any]:
    return job("delete_voice", {**voice_fields(voice, voice_id), "confirm": True})


def _timeout(request: Request) -> httpx2.Timeout:
    return httpx2.Timeout(
        connect=CONNECT_TIMEOUT_S, read=request.read_timeout_s, write=WRITE_TIMEOUT_S, pool=CONNECT_TIMEOUT_S
    )


def _lost(error: Exception) -> Lost:
    return Lost(str(error) or type(error).__name__, was_sent=not isinstance(error, _NOT_SENT))


def _reply(response: httpx2.Response, body: bytes) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, body)


class SpeechStream:
    """Audio while it is made: an iterator of bytes that are, put end to end, one file.

    ``receipt`` is the worker's reply once the iterator has ended, None before. ``format`` and
    ``sample_rate`` are there with the first bytes. Closing the stream before its end cancels the job, and so
    does leaving its ``with`` block.
    """

    def __init__(self, parts: Generator[Part, None, Mapping[str, Any]]) -> None:
        self._parts = parts
        self.receipt: Mapping[str, Any] | None = None
        self.format = ""
        self.sample_rate = 0

    def __iter__(self) -> SpeechStream:
        return self

    def __next__(self) -> bytes:
        try:
            part = next(self._parts)
        except StopIteration as done:
            self.receipt = self.receipt or done.value
            raise StopIteration from None
        self.format, self.sample_rate = part.format, part.sample_rate
        return part.audio

    @property
    def warnings(self) -> list[str]:
        """What may differ from what was expected; known at the end."""
        return strings(self.receipt or {}, "warnings")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes all of the audio to a file as it comes; returns its path."""
        file = Path(path)
        with file.open("wb") as opened:
            for part in self:
                opened.write(part)
        return file

    def close(self) -> None:
        """Ends the stream, and its job if it still runs."""
        self._parts.close()

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Client(_Base):
    """A client of one worker, for threads. Use it as a context manager, or close it.

    All methods raise VoiceWorkerError; ``errors`` lists its subclasses. Interrupting a call cancels its job.
    """

    def _open(self) -> None:
        self._http = httpx2.Client()

    def speak(
        self,
        text: str | None = None,
        *,
        turns: Turns | None = None,
        voice: AnyVoice | None = None,
        voice_id: str | None = None,
        reference: Recording | None = None,
        format: str = DEFAULT_FORMAT,
        **fields: Any,
    ) -> Speech:
        """Speaks a text, or a dialogue; returns all of its audio.

        turns: of a dialogue, instead of a text: for each what the field ``turns`` of the operation ``tts``
        takes, such as ``{"text": "Good morning.", "voice_name": "Ann"}``.
        voice: a stored voice's name, or a ``Voice``; none: the built-in voice. voice_id: its id.
        reference: a recording to speak like, which is not stored: a path, bytes, an open file or an https
        address. fields: further ones of the operation ``tts``, such as ``seed`` or ``speed``.
        """
        call = self._call()
        job_input = _speech_job(text, turns, voice, voice_id, reference, format, fields)
        return self._run(call, self._operations.speak(call, job_input))

    def stream(
        self,
        text: str | None = None,
        *,
        turns: Turns | None = None,
        voice: AnyVoice | None = None,
        voice_id: str | None = None,
        reference: Recording | None = None,
        format: str = DEFAULT_FORMAT,
        **fields: Any,
    ) -> SpeechStream:
        """Speaks a text; returns an iterator of its audio while it is made. Arguments: see ``speak``.

        The job is sent when the first bytes are asked for.
        """
        return self._stream(_speech_job(text, turns, voice, voice_id, reference, format, fields))

    def clone(self, recording: Recordings, name: str, **fields: Any) -> ClonedVoice:
        """Makes a voice of a recording and stores it.

        recording: 10 to 30 seconds of one person: a path, bytes, an open file or an https address; or a list
        of up to five, of which the best 30 seconds are taken. fields: further ones of the operation
        ``clone_voice``, such as ``gender``, ``tags``, ``consent`` or ``keep_preview``.
        """
        call = self._call()
        return self._run(call, self._operations.clone(call, _clone_job(recording, name, fields)))

    def convert(
        self,
        source: Recording,
        *,
        voice: AnyVoice | None = None,
        voice_id: str | None = None,
        reference: Recording | None = None,
        format: str = DEFAULT_FORMAT,
        **fields: Any,
    ) -> Speech:
        """Speaks what a recording says in another voice. Arguments: see ``speak``."""
        call = self._call()
        job_input = _convert_job(source, voice, voice_id, reference, format, fields)
        return self._run(call, self._operations.speak(call, job_input))

    def check_watermark(self, recording: Recording) -> WatermarkCheck:
        """Returns whether a recording carries the watermark of Chatterbox's makers.

        recording: 1 second to 10 minutes: a path, bytes, an open file or an https address.
        """
        call = self._call()
        return self._run(call, self._operations.check_watermark(call, _check_job(recording)))

    def voices(self, **filters: Any) -> list[Voice]:
        """Returns the stored voices. filters: ``gender``, ``language``, ``tag``, ``query``."""
        call = self._call()
        return self._run(call, self._operations.voices(call, filters))

    def preview(self, voice: AnyVoice | None = None, *, voice_id: str | None = None) -> bytes | None:
        """Returns the preview that was kept when a voice was cloned, a FLAC file; None where none was."""
        call = self._call()
        return self._run(call, self._operations.preview(call, _preview_job(voice, voice_id)))

    def delete(self, voice: AnyVoice | None = None, *, voice_id: str | None = None) -> bool:
        """Deletes a stored voice for good; returns False if that had been done before."""
        call = self._call()
        return self._run(call, self._operations.delete(call, _delete_job(voice, voice_id)))

    def run(self, operation: str, **fields: Any) -> Any:
        """Runs any operation; returns the worker's reply as it is."""
        call = self._call()
        return self._run(call, self._operations.run(call, job(operation, fields)))

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call, flow: Flow[T]) -> T:
        with closing(self._parts(call, flow)) as parts:
            while True:
                try:
                    call.parts.append(next(parts).audio)
                except StopIteration as done:
                    result: T = done.value
                    return result

    def _stream(self, job_input: Mapping[str, Any]) -> SpeechStream:
        call = self._call()
        return SpeechStream(self._parts(call, self._operations.stream(call, job_input)))

    def _parts(self, call: Call, flow: Flow[T]) -> Generator[Part, None, T]:
        """Takes a flow's steps; yields the parts of audio and returns the flow's result."""
        opened: httpx2.Response | None = None
        blocks: Iterator[bytes] = iter(())
        answer: Any = None
        try:
            while True:
                try:
                    step = flow.throw(answer) if isinstance(answer, Lost) else flow.send(answer)
                except StopIteration as done:
                    result: T = done.value
                    return result
                answer = None
                if isinstance(step, Part):
                    yield step
                    call.restart()
                elif isinstance(step, Wait):
                    time.sleep(step.seconds)
                elif isinstance(step, Tell):
                    if call.on_progress is not None:
                        call.on_progress(step.progress)
                else:
                    try:
                        if isinstance(step, Send):
                            response = self._send(step.request)
                            answer = _reply(response, response.content)
                        elif isinstance(step, Open):
                            opened = self._send(step.request, stream=True)
                            body = opened.read() if opened.status_code >= 300 else b""
                            answer, blocks = _reply(opened, body), opened.iter_bytes()
                        else:
                            answer = next(blocks, b"")
                    except httpx2.RequestError as error:
                        answer = _lost(error)
        except BaseException:
            if call.cancel is not None:
                self._cancel(call.cancel)
            raise
        finally:
            flow.close()
            if opened is not None:
                opened.close()

    def _send(self, request: Request, *, stream: bool = False) -> httpx2.Response:
        built = self._http.build_request(
            request.method,
            request.url,
            content=request.body,
            headers=dict(request.headers),
            timeout=_timeout(request),
        )
        return self._http.send(built, stream=stream, follow_redirects=request.follows_redirects)

    def _cancel(self, request: Request) -> None:
        """Asks the platform to end a job. Whether it hears that changes nothing for the caller."""
        with suppress(httpx2.HTTPError):
            self._http.request(
                request.method, request.url, headers=dict(request.headers), timeout=CANCEL_TIMEOUT_S
            )


class AsyncSpeechStream:
    """Audio while it is made: an asynchronous iterator of bytes, see ``SpeechStream``.

    Use it as an asynchronous context manager, or close it with ``aclose``.
    """

    def __init__(self, parts: AsyncGenerator[Part, None], result: list[Any]) -> None:
        self._parts, self._result = parts, result
        self.format = ""
        self.sample_rate = 0

    @property
    def receipt(self) -> Mapping[str, Any] | None:
        """The worker's reply once the iterator has ended, None before."""
        return self._result[0] if self._result else None

    @property
    def warnings(self) -> list[str]:
        """What may differ from what was expected; known at the end."""
        return strings(self.receipt or {}, "warnings")

    def __aiter__(self) -> AsyncSpeechStream:
        return self

    async def __anext__(self) -> bytes:
        part = await self._parts.__anext__()
        self.format, self.sample_rate = part.format, part.sample_rate
        return part.audio

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes all of the audio to a file as it comes; returns its path."""
        async with await anyio.open_file(path, "wb") as opened:
            async for part in self:
                await opened.write(part)
        return Path(path)

    async def aclose(self) -> None:
        """Ends the stream, and its job if it still runs."""
        await self._parts.aclose()

    async def __aenter__(self) -> AsyncSpeechStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class AsyncClient(_Base):
    """A client of one worker, for asyncio and trio. Use it as an asynchronous context manager.

    Its methods are those of ``Client``. Cancelling a task that waits for a call cancels the call's job.
    """

    def _open(self) -> None:
        self._http = httpx2.AsyncClient()

    async def speak(
        self,
        text: str | None = None,
        *,
        turns: Turns | None = None,
        voice: AnyVoice | None = None,
        voice_id: str | None = None,
        reference: Recording | None = None,
        format: str = DEFAULT_FORMAT,
        **fields: Any,
    ) -> Speech:
        """Speaks a text; returns all of its audio. Arguments: see ``Client.speak``."""
        call = self._call()
        job_input = _speech_job(text, turns, voice, voice_id, reference, format, fields)
        return await self._run(call, self._operations.speak(call, job_input))

    def stream(
        self,
        text: str | None = None,
        *,
        turns: Turns | None = None,
        voice: AnyVoice | None = None,
        voice_id: str | None = None,
        reference: Recording | None = None,
        format: str = DEFAULT_FORMAT,
        **fields: Any,
    ) -> AsyncSpeechStream:
        """Speaks a text; returns an iterator of its audio while it is made. Arguments: see ``speak``.

        The job is sent when the first bytes are asked for.
        """
        return self._stream(_speech_job(text, turns, voice, voice_id, reference, format, fields))

    async def clone(self, recording: Recordings, name: str, **fields: Any) -> ClonedVoice:
        """Makes a voice of a recording and stores it. Arguments: see ``Client.clone``."""
        call = self._call()
        return await self._run(call, self._operations.clone(call, _clone_job(recording, name, fields)))

    async def convert(
        self,
        source: Recording,
        *,
        voice: AnyVoice | None = None,
        voice_id: str | None = None,
        reference: Recording | None = None,
        format: str = DEFAULT_FORMAT,
        **fields: Any,
    ) -> Speech:
        """Speaks what a recording says in another voice. Arguments: see ``Client.speak``."""
        call = self._call()
        job_input = _convert_job(source, voice, voice_id, reference, format, fields)
        return await self._run(call, self._operations.speak(call, job_input))

    async def check_watermark(self, recording: Recording) -> WatermarkCheck:
        """Returns whether a recording is watermarked. Arguments: see ``Client.check_watermark``."""
        call = self._call()
        return await self._run(call, self._operations.check_watermark(call, _check_job(recording)))

    async def voices(self, **filters: Any) -> list[Voice]:
        """Returns the stored voices. filters: ``gender``, ``language``, ``tag``, ``query``."""
        call = self._call()
        return await self._run(call, self._operations.voices(call, filters))

    async def preview(self, voice: AnyVoice | None = None, *, voice_id: str | None = None) -> bytes | None:
        """Returns the preview that was kept when a voice was cloned. See ``Client.preview``."""
        call = self._call()
        return await self._run(call, self._operations.preview(call, _preview_job(voice, voice_id)))

    async def delete(self, voice: AnyVoice | None = None, *, voice_id: str | None = None) -> bool:
        """Deletes a stored voice for good; returns False if that had been done before."""
        call = self._call()
        return await self._run(call, self._operations.delete(call, _delete_job(voice, voice_id)))

    async def run(self, operation: str, **fields: Any) -> Any:
        """Runs any operation; returns the worker's reply as it is."""
        return await self.run_job(job(operation, fields))

    async def run_job(self, job_input: Mapping[str, Any]) -> Any:
        """Runs a job with this input; returns the worker's reply as it is."""
        call = self._call()
        return await self._run(call, self._operations.run(call, job_input))

    def stream_job(self, job_input: Mapping[str, Any]) -> AsyncSpeechStream:
        """Runs a job with this input, one that speaks; returns an iterator of its audio."""
        return self._stream(job_input)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, call: Call, flow: Flow[T]) -> T:
        result: list[T] = []
        async with aclosing(self._parts(call, flow, result)) as parts:
            async for part in parts:
                call.parts.append(part.audio)
        return result[0]

    def _stream(self, job_input: Mapping[str, Any]) -> AsyncSpeechStream:
        call, result = self._call(), list[Any]()
        return AsyncSpeechStream(self._parts(call, self._operations.stream(call, job_input), result), result)

    async def _parts(self, call: Call, flow: Flow[T], result: list[T]) -> AsyncGenerator[Part, None]:
        """Takes a flow's steps; yields the parts of audio and adds the flow's result to ``result``."""
        opened: httpx2.Response | None = None
        blocks: Any = None
        answer: Any = None
        try:
            while True:
                try:
                    step = flow.throw(answer) if isinstance(answer, Lost) else flow.send(answer)
                except StopIteration as done:
                    result.append(done.value)
                    return
                answer = None
                if isinstance(step, Part):
                    yield step
                    call.restart()
                elif isinstance(step, Wait):
                    await anyio.sleep(step.seconds)
                elif isinstance(step, Tell):
                    if call.on_progress is not None:
                        call.on_progress(step.progress)
                else:
                    try:
                        if isinstance(step, Send):
                            response = await self._send(step.request)
                            answer = _reply(response, response.content)
                        elif isinstance(step, Open):
                            opened = await self._send(step.request, stream=True)
                            body = await opened.aread() if opened.status_code >= 300 else b""
                            answer, blocks = _reply(opened, body), opened.aiter_bytes()
                        else:
                            answer = await anext(blocks, b"")
                    except httpx2.RequestError as error:
                        answer = _lost(error)
        except BaseException:
            if call.cancel is not None:
                await self._cancel(call.cancel)
            raise
        finally:
            flow.close()
            if opened is not None:
                with anyio.CancelScope(shield=True):
                    await opened.aclose()

    async def _send(self, request: Request, *, stream: bool = False) -> httpx2.Response:
        built = self._http.build_request(
            request.method,
            request.url,
            content=request.body,
            headers=dict(request.headers),
            timeout=_timeout(request),
        )
        return await self._http.send(built, stream=stream, follow_redirects=request.follows_redirects)

    async def _cancel(self, request: Request) -> None:
        """Asks the platform to end a job, also while this task is being cancelled itself."""
        with anyio.move_on_after(CANCEL_TIMEOUT_S, shield=True), suppress(httpx2.HTTPError):
            await self._http.request(request.method, request.url, headers=dict(request.headers))
