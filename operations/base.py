"""What an operation is, and what it is given to work with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol

from operations.request import AnyRequest
from speech.contract import PATIENT, Listener, Speaker
from voice_store import VoiceStore

ENVELOPE_BYTES = 4096  # what the SDK and the platform put around a reply, rounded up generously


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def posted_bytes(value: object) -> int:
    """What it weighs as the SDK posts it. Raises TypeError or ValueError for what cannot be posted."""
    return len(_encode(value).encode())


DeliveryMode = Literal["auto", "inline", "s3", "volume"]


@dataclass(frozen=True)
class Job:
    """id: the platform's. reply_limit_bytes: the largest reply that arrives; None: any size does.

    listener: who waits for speech. input, s3_config: as they came; None when there is none. part: of a job
    whose audio is delivered in parts, which one this is, as in a file's name. emit: sends a piece of the
    reply ahead; None where the endpoint does not stream. stream_limit_bytes: for all pieces together.
    """

    id: str
    reply_limit_bytes: int | None
    listener: Listener = PATIENT
    input: Mapping[str, Any] | None = None
    s3_config: Mapping[str, Any] | None = None
    part: str = ""
    emit: Callable[[Mapping[str, Any]], None] | None = None
    stream_limit_bytes: int | None = None


@dataclass(frozen=True)
class Delivered:
    """Where the audio went: exactly one of the three.

    audio: base64, to be put into the reply. audio_path: a file on the volume. audio_url: of a bucket, signed.
    """

    audio: str | None = None
    audio_path: str | None = None
    audio_url: str | None = None
    warnings: tuple[str, ...] = ()

    def fields(self) -> dict[str, str]:
        """The one of the three that there is, as a reply has it."""
        places = {"audio": self.audio, "audio_url": self.audio_url, "audio_path": self.audio_path}
        return {name: place for name, place in places.items() if place is not None}


class Delivery(Protocol):
    """Brings encoded audio to the caller."""

    def prepare(self, mode: DeliveryMode, job: Job) -> None:
        """Before any work is done: raises InvalidRequest, FetchRefused when the job asks for a way that
        does not exist."""
        ...

    def deliver(
        self,
        audio: bytes,
        *,
        extension: str,
        mode: DeliveryMode,
        reply: Mapping[str, Any],
        advice: str,
        job: Job,
    ) -> Delivered:
        """Put ``audio`` where the caller can get it; finished audio is never thrown away.

        extension: the file's, without the dot. mode: where the caller wants it. reply: all but the audio;
        it is kept with audio that goes elsewhere. advice: what to do for less
        of it. Raises OutputTooLarge, DeliveryFailed.
        """
        ...

    def repeat(self, job: Job) -> dict[str, Any] | None:
        """The reply that this job, handed out once more, had when its audio was delivered elsewhere."""
        ...


Fetch = Callable[[str, str], bytes]
"""What is at a URL, and the name of the field that holds it: the bytes. Raises FetchRefused, FetchFailed."""


@dataclass(frozen=True)
class Services:
    """What is built once and kept warm. Operations run in several threads at once."""

    speaker: Speaker
    voices: VoiceStore
    delivery: Delivery
    max_text_chars: int
    fetch: Fetch


@dataclass(frozen=True)
class Operation(Generic[AnyRequest]):
    """request: the fields it takes. run: does the work and returns the reply's fields."""

    request: type[AnyRequest]
    run: Callable[[AnyRequest, Services, Job], Mapping[str, Any]]
