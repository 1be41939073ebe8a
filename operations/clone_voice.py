"""``clone_voice``: a recording becomes a stored voice, and says a sentence to prove it."""

from __future__ import annotations

import base64
import logging
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NotRequired, TypedDict

from pydantic import AfterValidator, Field

from audio.encode import encode
from audio.quality import check_reference
from audio.waveform import MODEL_SAMPLE_RATE_HZ
from errors import InvalidRequest, WorkerError
from operations.base import Job, Services
from operations.reference import (
    REFERENCE_AUDIO,
    MaxReferenceDuration,
    ReferenceAudio,
    ReferenceAudioUrl,
    decode_reference,
)
from operations.request import Request, check_speakable, label
from speech.contract import Reference, SpeechParams
from voice_store.names import clean_name

LONGEST_PREVIEW_CHARS = 300  # about 20 s: always small enough for a reply
PREVIEW_SEED = 0  # the same recording and sentence always give the same preview
PREVIEW_TEXT = "Hello. This is how I sound, and I can read anything you like."

log = logging.getLogger(__name__)


def _check_voice_name(name: str) -> str:
    """The store's own rule, asked early, so that its error comes together with the other fields'."""
    try:
        return clean_name(name)
    except InvalidRequest as error:
        raise ValueError(f"cannot be used: {error.message.removeprefix('voice_name: ')}") from error


class CloneVoiceRequest(Request):
    voice_name: Annotated[
        str, Field(description="a name of 1 to 64 visible characters"), AfterValidator(_check_voice_name)
    ]
    reference_audio: ReferenceAudio = None
    reference_audio_url: ReferenceAudioUrl = None
    voice_description: Annotated[
        str | None, Field(max_length=1000, description="a text of at most 1000 characters")
    ] = None
    gender: Annotated[str | None, Field(description="a word such as 'female'"), label(32)] = None
    language: Annotated[str | None, Field(description="a language code such as 'en'"), label(35)] = None
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
        if REFERENCE_AUDIO in sent and "reference_audio_url" in sent:
            return ["reference_audio and reference_audio_url exclude each other: send one of them"]
        if REFERENCE_AUDIO not in sent and "reference_audio_url" not in sent:
            return ["reference_audio is required: send a recording in base64"]
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
    assert request.reference_audio is not None  # conflicts() saw to that
    recording = decode_reference(request.reference_audio, request.max_reference_duration_sec)
    quality, quality_warnings = check_reference(recording, REFERENCE_AUDIO)
    reply = CloneVoiceResponse(
        voice_id=None,
        voice_name=request.voice_name,
        created=False,
        saved_to_library=False,
        voice_info=None,
        quality={**quality.as_dict(), "warnings": list(quality_warnings)},
        warnings=list(quality_warnings),
    )
    if request.save_to_library:
        stored = services.voices.put(
            recording,
            request.voice_name,
            description=request.voice_description,
            gender=request.gender,
            language=request.language,
            overwrite=request.overwrite,
        )
        reply["voice_id"] = stored.voice.voice_id
        reply["voice_name"] = stored.voice.name
        reply["created"] = stored.created
        reply["saved_to_library"] = True
        reply["voice_info"] = dict(stored.voice.metadata)
        if not stored.created and not request.overwrite:
            reply["warnings"].extend(_unchanged_details(request, stored.voice.metadata))
    if request.preview:
        _add_preview(reply, Reference.of(recording), request.preview_text, services)
    return reply


def _unchanged_details(request: CloneVoiceRequest, stored: Mapping[str, Any]) -> list[str]:
    """A warning when the voice was there already and is described otherwise than asked for now."""
    asked_for = {
        "voice_description": (request.voice_description, stored["description"]),
        "gender": (request.gender, stored["gender"]),
        "language": (request.language, stored["language"]),
    }
    unchanged = [field for field, (new, old) in asked_for.items() if new is not None and new != old]
    if not unchanged:
        return []
    return [f"the voice was there already, with another {', '.join(unchanged)}: set overwrite to change that"]


def _add_preview(reply: CloneVoiceResponse, reference: Reference, text: str, services: Services) -> None:
    """Whatever goes wrong here, a voice that was saved is reported as saved."""
    try:
        speech = services.speaker.speak(text, reference, SpeechParams(seed=PREVIEW_SEED))
        sample = encode(speech.waveform, "wav", MODEL_SAMPLE_RATE_HZ)
    except Exception as error:
        if not reply["saved_to_library"]:
            raise
        log.exception("the voice is saved, its preview failed")
        reason = str(error) if isinstance(error, WorkerError) else "an internal error"
        reply["warnings"].append(f"the voice is saved, but its preview failed: {reason}")
    else:
        reply["sample_audio"] = base64.b64encode(sample).decode("ascii")
        reply["warnings"].extend(speech.warnings)
