"""From what a request says about the voice to the reference that the speaker gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from pydantic import Field

from audio.decode import decode_audio, decode_base64
from audio.quality import trim_silence
from audio.waveform import Waveform
from operations.base import Fetch
from operations.request import between
from speech.contract import Reference
from voice_store import VoiceStore

REFERENCE_AUDIO, REFERENCE_AUDIO_URL = "reference_audio", "reference_audio_url"

ReferenceAudio = Annotated[
    str | None, Field(description="a recording in base64, with or without a data: prefix")
]
ReferenceAudioUrl = Annotated[str | None, Field(description="an https URL of a recording")]
MaxReferenceDuration = Annotated[float, between(5, 60, "a number of seconds")]


@dataclass(frozen=True)
class ChosenVoice:
    """voice_id, voice_name: None for a recording that came with the job.

    default_parameters: what is kept with the voice about how to speak, as it is stored.
    """

    reference: Reference
    voice_id: str | None = None
    voice_name: str | None = None
    default_parameters: Mapping[str, float] = field(default_factory=dict)


class SentRecording(Protocol):
    """A request that may bring a recording, in one of two ways."""

    @property
    def reference_audio(self) -> str | None: ...

    @property
    def reference_audio_url(self) -> str | None: ...

    @property
    def max_reference_duration_sec(self) -> float: ...


def sent_recording(request: SentRecording, fetch: Fetch) -> tuple[Waveform, str] | None:
    """The recording at 24 kHz, without the silence before it, cut, and the field that it came in.

    None when there is none. Raises ReferenceInvalid, FetchRefused, FetchFailed.
    """
    if request.reference_audio is not None:
        field, data = REFERENCE_AUDIO, decode_base64(request.reference_audio, REFERENCE_AUDIO)
    elif request.reference_audio_url is not None:
        field, data = REFERENCE_AUDIO_URL, fetch(request.reference_audio_url, REFERENCE_AUDIO_URL)
    else:
        return None
    return trim_silence(decode_audio(data, field)).first(request.max_reference_duration_sec), field


def find_stored_voice(
    voices: VoiceStore, *, name: str | None, voice_id: str | None, max_duration_s: float
) -> ChosenVoice:
    """A voice of the store. Raises VoiceNotFound, StoreCorrupt, StoreUnavailable."""
    voice = voices.get(name=name, voice_id=voice_id)
    # Voices stored by others may start with silence, which would use up the model's window.
    used = trim_silence(voice.waveform).first(max_duration_s)
    whole = len(used.samples) == len(voice.waveform.samples)
    digest = voice.digest if whole else used.digest()
    reference = Reference(used, digest, voice.shelf)
    return ChosenVoice(reference, voice.voice_id, voice.name, voice.metadata["default_parameters"])
