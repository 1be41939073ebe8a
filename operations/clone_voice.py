"""``clone_voice``: a recording becomes a stored voice, and says a sentence to prove it."""

from __future__ import annotations

import base64
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any, NotRequired, TypedDict

from pydantic import AfterValidator, Field

from audio.encode import encode
from audio.quality import check_reference
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import WorkerError
from operations.base import Job, Services
from operations.parameters import DEFAULT_PARAMETERS, usable_defaults
from operations.reference import (
    REFERENCE_AUDIO,
    REFERENCE_AUDIO_URL,
    MaxReferenceDuration,
    ReferenceAudio,
    ReferenceAudioUrl,
    sent_recording,
)
from operations.request import check_speakable
from operations.stored_voice import name_lost
from operations.voice_details import NewVoiceName, VoiceDetails
from speech.contract import Listener, Reference, SpeechParams, SpeechStopped
from voice_store import Voice
from voice_store.metadata import given_details

LONGEST_PREVIEW_CHARS = 300  # about 20 s: always small enough for a reply
PREVIEW_SEED = 0  # the same recording and sentence always give the same preview
PREVIEW_TEXT = "Hello. This is how I sound, and I can read anything you like."

log = logging.getLogger(__name__)


class CloneVoiceRequest(VoiceDetails):
    voice_name: NewVoiceName
    reference_audio: ReferenceAudio = None
    reference_audio_url: ReferenceAudioUrl = None
    save_to_library: Annotated[bool, Field(description="true or false")] = True
    overwrite: Annotated[bool, Field(description="true or false")] = False
    preview: Annotated[bool, Field(description="true or false")] = True
    preview_text: Annotated[
        str,
        Field(
            max_length=LONGEST_PREVIEW_CHARS,
            description=f"a text of at most {LONGEST_PREVIEW_CHARS} characters",
        ),
        AfterValidator(check_speakable),
    ] = PREVIEW_TEXT
    max_reference_duration_sec: MaxReferenceDuration = 30.0

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[str]:
        if REFERENCE_AUDIO in sent and REFERENCE_AUDIO_URL in sent:
            return ["reference_audio and reference_audio_url exclude each other: send one of them"]
        if REFERENCE_AUDIO not in sent and REFERENCE_AUDIO_URL not in sent:
            return ["reference_audio is required: send a recording in base64, or reference_audio_url"]
        return []


class CloneVoiceResponse(TypedDict):
    """voice_id and voice_info are null, created is false, when the voice was not to be saved.

    sample_audio: a WAV in base64, when a preview was wanted and could be made. quality: what was
    measured, its warnings among it; they are in ``warnings`` too, with whatever else there is to say.
    """

    voice_id: str | None
    voice_name: str
    created: bool
    saved_to_library: bool
    voice_info: dict[str, Any] | None
    quality: dict[str, Any]
    sample_audio: NotRequired[str]
    warnings: list[str]


def run(request: CloneVoiceRequest, services: Services, job: Job) -> CloneVoiceResponse:
    """Raises WorkerError; once the voice is saved, nothing."""
    sent = sent_recording(request, services.fetch)
    assert sent is not None  # conflicts() saw to that
    recording, field = sent
    quality, quality_warnings = check_reference(recording, field)
    reply = CloneVoiceResponse(
        voice_id=None,
        voice_name=request.voice_name,
        created=False,
        saved_to_library=False,
        voice_info=None,
        quality={**quality.as_dict(), "warnings": list(quality_warnings)},
        warnings=list(quality_warnings),
    )
    reference = Reference.of(recording)
    details: Mapping[str, Any] = request.as_stored()
    if request.save_to_library:
        voice = _save(reply, request, recording, services)
        reference, details = replace(reference, shelf=voice.shelf), voice.metadata
    if request.preview:
        defaults = details[DEFAULT_PARAMETERS] or {}
        _add_preview(reply, reference, request.preview_text, defaults, services, job.listener)
    return reply


def _save(
    reply: CloneVoiceResponse, request: CloneVoiceRequest, recording: Waveform, services: Services
) -> Voice:
    """The voice, of which the reply then tells."""
    details = request.as_stored()
    stored = services.voices.put(recording, request.voice_name, overwrite=request.overwrite, **details)
    voice = stored.voice
    reply["voice_id"] = voice.voice_id
    reply["voice_name"] = voice.name
    reply["created"] = stored.created
    reply["saved_to_library"] = True
    reply["voice_info"] = dict(voice.metadata)
    if not stored.has_name:
        reply["warnings"].append(name_lost(voice.name, voice.voice_id))
    if not stored.created and not request.overwrite:
        reply["warnings"].extend(_unchanged_details(details, voice.metadata))
    return voice


def _unchanged_details(asked_for: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """A warning when the voice was there already and is described otherwise than asked for now."""
    fields = {"description": "voice_description"}
    unchanged = [
        fields.get(key, key)
        for key, value in given_details(**asked_for).items()
        if (value or None) != (stored[key] or None)
    ]
    if not unchanged:
        return []
    return [f"the voice was there already, with another {', '.join(unchanged)}: set overwrite to change that"]


def _add_preview(
    reply: CloneVoiceResponse,
    reference: Reference,
    text: str,
    default_parameters: Mapping[str, float],
    services: Services,
    listener: Listener,
) -> None:
    """Spoken as ``tts`` would. Whatever goes wrong here, a voice that was saved is reported as saved."""
    defaults, default_warnings = usable_defaults(default_parameters)
    reply["warnings"].extend(default_warnings)
    try:
        params = SpeechParams(seed=PREVIEW_SEED, **defaults)
        speech = services.speaker.speak(text, reference, params, listener)
        sample = encode(speech.waveform, "wav", MODEL_SAMPLE_RATE_HZ)
    except Exception as error:
        if not reply["saved_to_library"]:
            raise
        log.exception("the voice is saved, its preview failed")
        match error:
            case WorkerError():
                reason = error.message
            case SpeechStopped():
                reason = "the job was ended before it was done"
            case _:
                reason = "an internal error"
        reply["warnings"].append(f"the voice is saved, but its preview failed: {reason}")
    else:
        reply["sample_audio"] = base64.b64encode(sample).decode("ascii")
        reply["warnings"].extend(speech.warnings)
