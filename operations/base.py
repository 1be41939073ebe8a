"""What an operation is, and what it is given to work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from operations.request import AnyRequest
from speech.contract import PATIENT, Listener, Speaker
from voice_store import VoiceStore

ENVELOPE_BYTES = 4096  # what the SDK and the platform put around a reply, rounded up generously


@dataclass(frozen=True)
class Job:
    """id: the platform's. reply_limit_bytes: the largest reply that arrives; None: any size does.

    listener: who waits for speech.
    """

    id: str
    reply_limit_bytes: int | None
    listener: Listener = PATIENT


@dataclass(frozen=True)
class Delivered:
    """Where the audio went: exactly one of the two.

    audio: base64, to be put into the reply. audio_path: a file on the volume.
    """

    audio: str | None = None
    audio_path: str | None = None
    warnings: tuple[str, ...] = ()


class Delivery(Protocol):
    """Brings encoded audio to the caller."""

    def deliver(
        self, audio: bytes, *, extension: str, inline_only: bool, reply_bytes: int, advice: str, job: Job
    ) -> Delivered:
        """Put ``audio`` where the caller can get it; finished audio is never thrown away.

        extension: the file's, without the dot. inline_only: the caller takes it in the reply or not
        at all. reply_bytes: what the reply weighs without the audio. advice: what to do for less of it.
        Raises OutputTooLarge.
        """
        ...


@dataclass(frozen=True)
class Services:
    """What is built once and kept warm. Operations run in several threads at once."""

    speaker: Speaker
    voices: VoiceStore
    delivery: Delivery
    max_text_chars: int


@dataclass(frozen=True)
class Operation(Generic[AnyRequest]):
    """request: the fields it takes. run: does the work and returns the reply's fields."""

    request: type[AnyRequest]
    run: Callable[[AnyRequest, Services, Job], Mapping[str, Any]]
