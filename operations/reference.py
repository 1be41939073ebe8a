"""From what a request says about the voice to the recording of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from audio.decode import decode_audio, decode_base64
from audio.quality import Quality, check_reference, trim_silence
from audio.waveform import Waveform
from cancel import CancelToken
from operations.base import Fetch
from operations.conditionals import Reference
from operations.request import Request, between
from voice_store import Voice

REFERENCE_AUDIO, REFERENCE_AUDIO_URL = "reference_audio", "reference_audio_url"


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


def decode_reference(request: ReferenceFields, fetch: Fetch, cancel: CancelToken) -> SentRecording | None:
    """Returns the recording that came with the job; None when none did.

    Raises ReferenceInvalid, ReferenceTooShort, FetchRefused, FetchFailed, Cancelled.
    """
    if request.reference_audio is not None:
        field, data = REFERENCE_AUDIO, decode_base64(request.reference_audio, REFERENCE_AUDIO)
    elif request.reference_audio_url is not None:
        field = REFERENCE_AUDIO_URL
        data = fetch(request.reference_audio_url, REFERENCE_AUDIO_URL, cancel)
    else:
        return None
    cancel.raise_if_cancelled()
    decoded = decode_audio(data, field, cancel)
    cancel.raise_if_cancelled()
    waveform = trim_silence(decoded).first(request.max_reference_duration_sec)
    return SentRecording(waveform, *check_reference(waveform, field))


def stored_reference(voice: Voice, max_duration_s: float) -> Reference:
    """The reference of a stored voice, at most ``max_duration_s`` long."""
    # Voices stored by others may start with silence, which would use up the model's window.
    used = trim_silence(voice.waveform).first(max_duration_s)
    is_whole = len(used.samples) == len(voice.waveform.samples)
    return Reference(used, voice.digest if is_whole else used.digest(), voice.shelf)
