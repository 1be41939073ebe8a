"""Calls without input and output: generators that yield steps, which a driver takes for them.

A ``Flow`` is a generator. It yields a step, gets the step's answer sent, and returns the call's result. The
synchronous and the asynchronous driver run the same flows, so that the protocol is written once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from chatterbox_voice.errors import (
    CallTimedOut,
    ConnectionFailed,
    InvalidRequest,
    NotFound,
    PlatformError,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnexpectedReply,
    VoiceWorkerError,
    job_error,
)

MAX_TRIES = 7  # of one request
MAX_PAUSE_S = 15.0  # between two tries
MAX_RETRY_AFTER_S = 60.0  # that a reply may ask for
ANSWER_TIMEOUT_S = 60.0  # of a request that is answered at once
MAX_EXCERPT_CHARS = 300  # of a reply that is quoted

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """An HTTP request."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold keys
    body: bytes | None = field(default=None, repr=False)
    read_timeout_s: float = ANSWER_TIMEOUT_S  # the longest silence of the server
    follows_redirects: bool = False  # only where the headers hold no key


@dataclass(frozen=True)
class Reply:
    """The reply to a request. Its body is empty while it is read in parts, see ``Open``."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        """Returns the body, read as JSON. Raises UnexpectedReply."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise UnexpectedReply(f"the reply is not JSON: {self.excerpt()}", status=self.status) from None

    def excerpt(self) -> str:
        """Returns the start of the body, to be quoted."""
        text = " ".join(self.body[:MAX_EXCERPT_CHARS].decode("utf-8", "replace").split())
        return text or f"status {self.status}"


@dataclass(frozen=True)
class Progress:
    """How far a call is."""

    state: str  # "waiting" for a worker, "running", or "retrying"
    chunk: int = 0  # chunks of text that are spoken
    chunks: int | None = None  # of the whole text, where the worker has said so
    audio_s: float = 0.0  # seconds of audio so far
    detail: str = ""


@dataclass(frozen=True)
class Send:
    """Sends a request. Its answer is the ``Reply``."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Sends a request whose reply is read in parts. Its answer is the ``Reply``, whole if it is an error."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Reads on from the opened reply. Its answer is bytes, none at the end."""


@dataclass(frozen=True)
class Wait:
    """Sleeps."""

    seconds: float


@dataclass(frozen=True)
class Part:
    """Hands a part of the audio to the caller."""

    audio: bytes
    format: str
    sample_rate: int


@dataclass(frozen=True)
class Tell:
    """Reports progress to the caller."""

    progress: Progress


Step = Send | Open | Read | Wait | Part | Tell
Flow = Generator[Step, Any, T]


class Lost(Exception):
    """A driver throws it into a flow when a request or its reply did not get through."""

    def __init__(self, reason: str, *, was_sent: bool) -> None:
        """was_sent: whether the whole request may have arrived."""
        super().__init__(reason)
        self.was_sent = was_sent


@dataclass
class Call:
    """What the flow and the driver of one call share."""

    timeout_s: float  # of the whole call; counted anew from each part of audio
    backoff_s: float  # before the second try of a request; doubled before each further one
    poll_s: float  # before the first question about a job
    on_progress: Callable[[Progress], None] | None = None
    cancel: Request | None = None  # ends the job that the call has submitted, while it is not over
    parts: list[bytes] = field(default_factory=list)  # audio, of a call that collects it
    started_s: float = field(default_factory=time.monotonic)

    def remaining_s(self) -> float:
        """Returns the seconds that are left for the call. Raises CallTimedOut."""
        left_s = self.started_s + self.timeout_s - time.monotonic()
        if left_s <= 0:
            raise self.timed_out()
        return left_s

    def restart(self) -> None:
        """Counts the time anew: a caller may take a stream as slowly as it is played."""
        self.started_s = time.monotonic()

    def timed_out(self) -> CallTimedOut:
        """Returns the error of a call that took too long."""
        hint = "a cold start may take minutes: raise timeout_s"
        return CallTimedOut(f"there is no result after {self.timeout_s:g} s; {hint}")


@dataclass(frozen=True)
class RetryRule:
    """When a request is sent again."""

    statuses: frozenset[int]
    after_loss: bool  # also when the connection was lost after the request had been sent


# A job of the queue must not run twice. 429 and 503 refuse a request, so that there is no job. Any other
# failure leaves open whether the job is in the queue, and ends the call.
SUBMIT = RetryRule(frozenset({429, 503}), after_loss=False)
# Asking changes nothing.
ASK = RetryRule(frozenset({408, 429, 500, 502, 503, 504}), after_loss=True)
# The HTTP server ends a job when its connection closes, so that none runs on behind a lost one. 500 and 504
# are results of a job.
SERVER = RetryRule(frozenset({429, 502, 503}), after_loss=True)


def to_json(fields: Mapping[str, Any]) -> bytes:
    """Returns a request's body. Raises InvalidRequest for what JSON does not have."""
    try:
        return json.dumps(fields, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the fields cannot be sent as JSON: {error}") from None


def exchange(call: Call, request: Request, rule: RetryRule, *, opens: bool = False) -> Flow[Reply]:
    """Sends a request until it is answered well, with pauses that grow. Raises VoiceWorkerError.

    A server that is starting, and an endpoint without a worker, are waited for until the call times out.
    """
    for tries in itertools.count(1):
        call.remaining_s()
        pause_s: float | None = None
        failure: VoiceWorkerError
        try:
            reply = yield Open(request) if opens else Send(request)
        except Lost as lost:
            what = "the connection was lost" if lost.was_sent else "there is no connection"
            failure = ConnectionFailed(f"{what}: {lost}", was_sent=lost.was_sent)
            is_retried, is_starting = rule.after_loss or not lost.was_sent, False
        else:
            if reply.status < 300:
                return reply  # type: ignore[no-any-return]
            failure = reply_error(reply)
            is_starting = _is_starting(reply)
            is_retried = is_starting or reply.status in rule.statuses
            pause_s = _retry_after_s(reply)
        if not is_retried:
            raise failure
        if pause_s is None:
            pause_s = min(call.backoff_s * 2 ** min(tries - 1, 10), MAX_PAUSE_S)
            pause_s *= random.uniform(0.75, 1.25)  # noqa: S311  # not all clients at once
        if not is_starting and (tries >= MAX_TRIES or pause_s >= call.remaining_s()):
            raise failure
        yield Tell(Progress("waiting" if is_starting else "retrying", detail=failure.message))
        yield from wait(call, pause_s)
    raise AssertionError


def wait(call: Call, seconds: float) -> Flow[None]:
    """Sleeps, unless the call would time out meanwhile. Raises CallTimedOut."""
    if call.remaining_s() <= seconds:
        raise call.timed_out()
    yield Wait(seconds)


def reply_error(reply: Reply) -> VoiceWorkerError:
    """Returns the exception for a reply with a status of 300 or more."""
    status = reply.status
    said: object = None
    with contextlib.suppress(ValueError, RecursionError):
        said = json.loads(reply.body)
    sentence = said.get("error") if isinstance(said, dict) else None
    if isinstance(sentence, dict):  # OpenAI's shape
        sentence = f"{sentence.get('code')}: {sentence.get('message')}"
    if isinstance(said, dict) and isinstance(said.get("error_code"), str):
        return job_error(sentence, status=status)
    if not isinstance(sentence, str) or not sentence:
        sentence = reply.excerpt()
    if 300 <= status < 400:
        return UnexpectedReply(
            "the address leads to another one, to which no key is sent: correct the address", status=status
        )
    if status in (401, 403):
        return Unauthorized(f"the key is missing or wrong, or may not do this: {sentence}", status=status)
    if status == 404:
        return NotFound(f"there is no such endpoint, route or job: {sentence}", status=status)
    if status == 413:
        return TooLarge(f"the server refused the request for its size: {sentence}", status=status)
    if status == 429:
        return RateLimited(f"too many requests: {sentence}", status=status)
    if status in (500, 502, 503, 504):
        return Unavailable(f"the platform answered with status {status}: {sentence}", status=status)
    return PlatformError(f"status {status}: {sentence}", status=status)


def _is_starting(reply: Reply) -> bool:
    """Whether nobody works on the request because no worker is ready yet."""
    if reply.status < 400:
        return False
    text = reply.body[:1000].decode("utf-8", "replace")
    return "no workers available" in text or (reply.status == 503 and '"starting' in text)


def _retry_after_s(reply: Reply) -> float | None:
    said = reply.headers.get("retry-after", "")
    return min(float(said), MAX_RETRY_AFTER_S) if said.isdecimal() else None
