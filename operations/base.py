"""What an operation is, what it works with and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from audio.waveform import Waveform
from cancel import CancelToken
from operations.conditionals import VoiceConditionals
from operations.request import AnyRequest
from operations.speech_result import SpeechResult
from speech.contract import Models
from voice_store import VoiceStore

# Returns the bytes at a URL; the second argument is the name of the field that holds the URL.
# Raises FetchRefused, FetchFailed, Cancelled.
Fetch = Callable[[str, str, CancelToken], bytes]


@dataclass(frozen=True)
class Services:
    """What is built once and kept warm. Operations run in several threads at once."""

    models: Models
    conditionals: VoiceConditionals
    voices: VoiceStore
    fetch: Fetch
    max_text_chars: int  # longest text of one job
    require_consent: bool = False  # clones need somebody's consent
    # Of texts and voices that name none; None: English where a model speaks it, else the model's own.
    default_language: str | None = None
    store_is_shared: bool = True  # False: stored voices end with this worker, and no other worker sees them


@dataclass(frozen=True)
class Result:
    """What an operation returns that does not speak a text."""

    facts: dict[str, Any]  # JSON-safe
    preview: Waveform | None = None  # watermarked speech, 24 kHz
    recording: Waveform | None = None  # a stored recording, to be encoded without loss
    kept_preview: bytes | None = None  # of a stored voice, a FLAC file


@dataclass(frozen=True)
class Operation(Generic[AnyRequest]):
    """A use case. Transports parse the request, call ``run`` and render its result or its WorkerError."""

    request: type[AnyRequest]
    run: Callable[[AnyRequest, Services, CancelToken], Result | SpeechResult]
