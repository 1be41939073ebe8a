"""Recordings that come with a request, of a voice or of other speech."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from audio.decode import decode_audio, decode_base64
from audio.limits import REFERENCE, RecordingLimits
from audio.quality import Quality, check_reference, trim_silence
from audio.waveform import Waveform
from cancel import CancelToken
from errors import Problem
from operations.base import Fetch
from operations.conditionals import Reference
from operations.request import Request, between
from voice_store import Voice

REFERENCE_AUDIO = "reference_audio"


class ReferenceFields(Request):
    """The fields of a recording that comes with a job."""

    reference_audio: Annotated[
        str | None, Field(description="a recording in base64, with or without a data: prefix")
    ] = None
    reference_audio_url: Annotated[str | None, Field(description="an https URL of a recording")] = None
    max_reference_duration_sec: Annotated[float, between(5, 60, "a number of seconds")] = 30.0


@dataclass(frozen=True)
class SentRecording:
    """A recording that came with a job, found good enough."""

    waveform: Waveform  # 24 kHz, without the silence around it, at most max_reference_duration_sec
    quality: Quality
    warnings: tuple[str, ...]


def one_recording(sent: Collection[str], field: str) -> list[Problem]:
    """What is wrong where a recording has to be sent in one of two fields, ``field`` and ``<field>_url``."""
    match (field in sent, f"{field}_url" in sent):
        case (True, True):
            return [Problem(f"{field} and {field}_url exclude each other", hint="send one of them")]
        case (False, False):
            return [Problem("is required", field, f"send a recording in base64, or {field}_url")]
    return []


def decode_sent(
    request: Request,
    field: str,
    fetch: Fetch,
    cancel: CancelToken,
    limits: RecordingLimits = REFERENCE,
) -> tuple[Waveform, str]:
    """Returns the recording that was sent in ``field`` or ``<field>_url``, and which of the two it was.

    Raises ReferenceInvalid, FetchRefused, FetchFailed, Cancelled.
    """
    url_field = f"{field}_url"
    if (encoded := getattr(request, field)) is not None:
        data = decode_base64(encoded, field)
    else:
        data, field = fetch(getattr(request, url_field), url_field, cancel), url_field
    cancel.raise_if_cancelled()
    decoded = decode_audio(data, field, cancel, limits)
    cancel.raise_if_cancelled()
    return decoded, field


def decode_reference(request: ReferenceFields, fetch: Fetch, cancel: CancelToken) -> SentRecording | None:
    """Returns the recording that came with the job; None when none did.

    Raises ReferenceInvalid, ReferenceTooShort, FetchRefused, FetchFailed, Cancelled.
    """
    if request.reference_audio is None and request.reference_audio_url is None:
        return None
    decoded, field = decode_sent(request, REFERENCE_AUDIO, fetch, cancel)
    waveform = trim_silence(decoded).first(request.max_reference_duration_sec)
    return SentRecording(waveform, *check_reference(waveform, field))


def stored_reference(voice: Voice, max_duration_s: float) -> Reference:
    """The reference of a stored voice, at most ``max_duration_s`` long."""
    # Voices stored by others may start with silence, which would use up the model's window.
    used = trim_silence(voice.waveform).first(max_duration_s)
    is_whole = len(used.samples) == len(voice.waveform.samples)
    return Reference(used, voice.digest if is_whole else used.digest(), voice.shelf)
