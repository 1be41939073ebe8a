"""``clone_voice``: a recording becomes a stored voice, and says a sentence to prove it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, NotRequired, TypedDict

from pydantic import AfterValidator, Field

from audio.encode import encode
from audio.waveform import Waveform
from cancel import CancelToken
from errors import Cancelled, InvalidRequest, Problem, StoreUnavailable, WorkerError
from operations.base import Result, Services
from operations.chosen_model import choose_model
from operations.conditionals import Reference
from operations.event_tags import sayable
from operations.parameters import DEFAULT_PARAMETERS, resolved, usable_defaults
from operations.pronunciations import levels_for
from operations.reference import (
    REFERENCE_AUDIO,
    SAMPLES,
    ReferenceFields,
    SampleReceipt,
    Samples,
    SentRecording,
    decode_reference,
    decode_samples,
)
from operations.request import check_speakable
from operations.speech_result import at_speed, join
from operations.stored_voice import NOT_SHARED, alias_warnings, name_conflict_warning
from operations.voice_details import NewVoiceName, VoiceDetails
from speech.contract import Utterance
from speech.text.normalization import normalize
from speech.text.pronunciations import find_pronunciations
from speech.voice_activity import contains_speech
from voice_store import Voice
from voice_store.metadata import given_details

MAX_PREVIEW_CHARS = 300  # about 20 s
PREVIEW_SEED = 0  # the same recording and sentence always give the same preview
PREVIEW_LANGUAGE = "en"
PREVIEW_TEXT = "Hello. This is how I sound, and I can read anything you like."
SOURCES = (REFERENCE_AUDIO, f"{REFERENCE_AUDIO}_url", SAMPLES)

log = logging.getLogger(__name__)


class CloneVoiceRequest(VoiceDetails, ReferenceFields):
    voice_name: NewVoiceName
    samples: Samples = None
    save_to_library: Annotated[bool, Field(description="true or false")] = True
    overwrite: Annotated[bool, Field(description="true or false")] = False
    preview: Annotated[bool, Field(description="true or false")] = True
    preview_text: Annotated[
        str,
        Field(max_length=MAX_PREVIEW_CHARS, description=f"a text of at most {MAX_PREVIEW_CHARS} characters"),
        AfterValidator(check_speakable),
    ] = PREVIEW_TEXT
    keep_preview: Annotated[bool, Field(description="true or false")] = False

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[Problem]:
        sources = [name for name in SOURCES if name in sent]
        if len(sources) > 1:
            return [Problem(f"{' and '.join(sources)} exclude each other", hint="send one of them")]
        if not sources:
            hint = f"send a recording in base64, or {SOURCES[1]}, or {SAMPLES}"
            return [Problem("is required", REFERENCE_AUDIO, hint)]
        return []


class CloneVoiceFacts(TypedDict):
    """What is returned besides the preview.

    voice_id and voice_info are None, created is False, when the voice was not to be saved.
    """

    voice_id: str | None
    voice_name: str
    created: bool
    saved_to_library: bool
    voice_info: dict[str, Any] | None  # see ``VoiceStore.metadata``
    quality: dict[str, Any]  # what was measured, its warnings among it; they are in ``warnings`` too
    samples: NotRequired[list[SampleReceipt]]  # with ``samples``
    preview_kept: NotRequired[bool]  # whether a preview is in the store now; with ``keep_preview``
    warnings: list[str]


def run(request: CloneVoiceRequest, services: Services, cancel: CancelToken) -> Result:
    """Returns CloneVoiceFacts and the preview. Once the voice is saved, nothing is raised any more.

    Raises InvalidRequest (no consent where it is required, a preview to be kept without a voice),
    VoiceExists, StoreUnavailable, and what ``decode_reference`` raises; for a voice that is not to be saved,
    also what its preview raises.
    """
    if services.require_consent and request.consent is None:
        hint = 'send who agreed and when, as {"by": ..., "date": ..., "statement": ...}'
        raise InvalidRequest("is required on this endpoint", field="consent", hint=hint)
    if request.keep_preview and not request.save_to_library:
        hint = "leave save_to_library out"
        raise InvalidRequest("needs a voice that is stored", field="keep_preview", hint=hint)
    sent = _decode(request, services, cancel)
    facts = CloneVoiceFacts(
        voice_id=None,
        voice_name=request.voice_name,
        created=False,
        saved_to_library=False,
        voice_info=None,
        quality={**sent.quality.as_dict(), "warnings": list(sent.warnings)},
        warnings=[*sent.warnings, *_no_speech(sent), *_too_short(sent.waveform, services)],
    )
    if sent.samples:
        facts["samples"] = list(sent.samples)
    reference = Reference.of(sent.waveform)
    details: Mapping[str, Any] = request.as_stored()
    if request.save_to_library:
        cancel.raise_if_cancelled()
        voice = _save(facts, request, sent.waveform, services)
        reference, details = replace(reference, files=voice.sidecar), voice.metadata
    preview = None
    if request.preview or request.keep_preview:
        defaults, default_warnings = usable_defaults(details[DEFAULT_PARAMETERS] or {})
        facts["warnings"].extend(default_warnings)
        own_text = "preview_text" in request.model_fields_set
        language = request.language if own_text else PREVIEW_LANGUAGE
        preview = _preview(
            facts,
            reference,
            request.preview_text,
            language,
            defaults,
            details["pronunciations"] or (),
            services,
            cancel,
        )
    if request.keep_preview:
        facts["preview_kept"] = _keep_preview(facts, request, preview, services)
    return Result({**facts}, preview=preview if request.preview else None)


def _no_speech(sent: SentRecording) -> list[str]:
    """Returns a warning about music and other sounds, which may be all that the caller wants."""
    if contains_speech(sent.waveform, sent.quality.speech_s):
        return []
    return ["the recording holds music or other sounds, not speech: the voice will not resemble it"]


def _too_short(waveform: Waveform, services: Services) -> list[str]:
    """Returns a warning about the worker's models that a voice of this recording is too short for."""
    duration_s, specs = waveform.duration_s, [each.info.spec for each in services.models]
    short = [spec for spec in specs if duration_s <= spec.conditioning.least_s]
    if not short:
        return []
    names, least_s = ", ".join(spec.name for spec in short), max(spec.conditioning.least_s for spec in short)
    return [
        f"the recording is {duration_s:.1f} s long, and models that need more than {least_s:g} s refuse the "
        f"voice: {names}"
    ]


def _decode(request: CloneVoiceRequest, services: Services, cancel: CancelToken) -> SentRecording:
    if request.samples is not None:
        return decode_samples(request.samples, request.max_reference_duration_sec, services.fetch, cancel)
    sent = decode_reference(request, services.fetch, cancel)
    assert sent is not None  # conflicts() saw to that
    return sent


def _keep_preview(
    facts: CloneVoiceFacts, request: CloneVoiceRequest, preview: Waveform | None, services: Services
) -> bool:
    """Keeps the preview beside the voice; returns whether there is one now. Warns when it is another one."""
    voice_id = facts["voice_id"]
    assert voice_id is not None  # run() saw to that
    if preview is None:  # which has been warned of
        is_older = services.voices.preview(voice_id) is not None
        if is_older:
            facts["warnings"].append("an older preview of the voice stays and is still served")
        return is_older
    content = encode(preview, "flac", preview.sample_rate_hz)
    if not facts["created"] and not request.overwrite:
        stored = services.voices.preview(voice_id)
        if stored is not None:
            if stored != content:
                facts["warnings"].append(
                    "another preview of the voice was kept already: set overwrite to replace it"
                )
            return True
    try:
        is_kept = services.voices.put_preview(voice_id, content)
    except StoreUnavailable:
        is_kept = False
    if is_kept:
        return True
    stored = services.voices.preview(voice_id)
    if stored is None:
        facts["warnings"].append(
            "the voice is saved, but its preview cannot be kept: the volume did not take it, or the voice "
            "was deleted meanwhile"
        )
    elif stored != content:
        facts["warnings"].append(
            "the voice is saved, but its new preview cannot be kept, for the volume did not take it: "
            "an older preview of the voice stays and is still served"
        )
    return stored is not None


def _save(
    facts: CloneVoiceFacts, request: CloneVoiceRequest, recording: Waveform, services: Services
) -> Voice:
    """Stores the voice and completes the facts."""
    details = request.as_stored()
    stored = services.voices.put(recording, request.voice_name, overwrite=request.overwrite, **details)
    voice = stored.voice
    facts["voice_id"] = voice.voice_id
    facts["voice_name"] = voice.name
    facts["created"] = stored.created
    facts["saved_to_library"] = True
    facts["voice_info"] = dict(voice.metadata)
    if not services.store_is_shared:
        facts["warnings"].append(NOT_SHARED)
    if not stored.has_name:
        facts["warnings"].append(name_conflict_warning(voice.name, voice.voice_id))
    if request.aliases:
        facts["warnings"].extend(alias_warnings(voice.metadata, services.voices))
    if not stored.created and not request.overwrite:
        facts["warnings"].extend(_unchanged_details(details, voice.metadata))
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


def _preview(
    facts: CloneVoiceFacts,
    reference: Reference,
    text: str,
    language: str | None,
    parameters: Mapping[str, Any],
    pronunciations: Sequence[Mapping[str, Any]],
    services: Services,
    cancel: CancelToken,
) -> Waveform | None:
    """The sentence as ``tts`` would speak it; None, with a warning, when that fails for a saved voice.

    language: of the text, if it is known.
    """
    params, speed = resolved(parameters)
    try:
        chosen = choose_model(None, None, services, language)
        synthesizer, code = chosen.synthesizer, chosen.language
        text, tag_warnings = sayable(text, synthesizer.info, field="preview_text")
        levels, entry_warnings = levels_for(None, pronunciations, services.voices)
        spoken_text = normalize(text, code, find_pronunciations(text, levels), cancel)
        conditionals = services.conditionals.get(reference, synthesizer, cancel)
        utterance = Utterance(spoken_text.text, conditionals, PREVIEW_SEED, params, code)
        spoken = synthesizer.synthesize([utterance], cancel)
        chunks = list(synthesizer.watermark(at_speed(spoken, [speed])))
    except Exception as error:
        if not facts["saved_to_library"]:
            raise
        match error:
            case Cancelled():
                reason = "the job was ended before it was done"
            case WorkerError():
                reason = error.message
            case _:
                reason = "an internal error"
        log.warning("the voice is saved, its preview failed", exc_info=error)
        facts["warnings"].append(f"the voice is saved, but its preview failed: {reason}")
        return None
    warnings = [
        *chosen.warnings,
        *tag_warnings,
        *entry_warnings,
        *spoken_text.warnings,
        *synthesizer.info.ignored(params),
        *(said for chunk in chunks for said in chunk.warnings),
    ]
    facts["warnings"].extend(dict.fromkeys(warnings))
    return join(chunks)
