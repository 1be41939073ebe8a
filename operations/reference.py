"""From what a request says about the voice to the reference that the speaker gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from audio.decode import decode_audio, decode_base64
from audio.quality import trim_silence
from audio.waveform import Waveform
from operations.request import between, later
from speech.contract import Reference
from voice_store import VoiceStore

REFERENCE_AUDIO = "reference_audio"  # the field that a bad recording's error names

ReferenceAudio = Annotated[
    str | None, Field(description="a recording in base64, with or without a data: prefix")
]
ReferenceAudioUrl = Annotated[
    str | None,
    Field(description="an https URL"),
    later(lambda url: url is None, "send the recording itself in reference_audio, in base64"),
]
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


def decode_reference(recording_base64: str, max_duration_s: float) -> Waveform:
    """The recording at 24 kHz, without the silence before it, cut. Raises ReferenceInvalid."""
    recording = decode_audio(decode_base64(recording_base64, REFERENCE_AUDIO), REFERENCE_AUDIO)
    return trim_silence(recording).first(max_duration_s)


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
