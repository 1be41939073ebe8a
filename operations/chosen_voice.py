"""The voice that a job speaks in: a stored one, a recording that comes with the job, or the built-in one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from cancel import CancelToken
from errors import Problem, ReferenceTooShort
from operations.base import Services
from operations.conditionals import Reference
from operations.reference import ReferenceFields, decode_reference, stored_reference
from operations.stored_voice import VoiceId, VoiceName
from speech.contract import Conditionals, Synthesizer

VOICE_FIELDS = ("voice_name", "voice_id", "reference_audio", "reference_audio_url")


class VoiceFields(ReferenceFields):
    """The fields that choose a voice. Without any of them it is the built-in one."""

    voice_name: VoiceName = None
    voice_id: VoiceId = None

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[Problem]:
        voices = [name for name in VOICE_FIELDS if name in sent]
        if len(voices) < 2:
            return []
        return [Problem(f"{' and '.join(voices)} exclude each other", hint="send one of them")]


class VoiceReceipt(TypedDict):
    """Which voice spoke: both are null for a recording that came with the job."""

    voice_id: str | None
    voice_name: str | None


@dataclass(frozen=True)
class ChosenVoice:
    """Who speaks."""

    reference: Reference | None  # None: the built-in voice
    receipt: VoiceReceipt | None = None  # null in replies for the built-in voice
    default_parameters: Mapping[str, float] = field(default_factory=dict)  # as they are stored
    language: str | None = None  # as it is stored
    pronunciations: Sequence[Mapping[str, Any]] = ()  # as they are stored
    warnings: tuple[str, ...] = ()


def choose_voice(request: VoiceFields, services: Services, cancel: CancelToken) -> ChosenVoice:
    """Returns the voice that the request asks for.

    Raises VoiceNotFound, StoreCorrupt, StoreUnavailable, and what ``decode_reference`` raises.
    """
    if (sent := decode_reference(request, services.fetch, cancel)) is not None:
        receipt = VoiceReceipt(voice_id=None, voice_name=None)
        return ChosenVoice(Reference.of(sent.waveform), receipt, warnings=sent.warnings)
    if request.voice_name is None and request.voice_id is None:
        return ChosenVoice(None)
    return choose_stored_voice(
        services, request.max_reference_duration_sec, name=request.voice_name, voice_id=request.voice_id
    )


def choose_stored_voice(
    services: Services, max_duration_s: float, *, name: str | None = None, voice_id: str | None = None
) -> ChosenVoice:
    """Returns the stored voice of a name or an id.

    max_duration_s: of its recording, as the model hears it. Raises VoiceNotFound, StoreCorrupt,
    StoreUnavailable.
    """
    voice = services.voices.get(name=name, voice_id=voice_id)
    return ChosenVoice(
        stored_reference(voice, max_duration_s),
        VoiceReceipt(voice_id=voice.voice_id, voice_name=voice.name),
        voice.metadata["default_parameters"],
        voice.metadata["language"],
        voice.metadata["pronunciations"],
    )


def conditionals_of(
    voice: ChosenVoice, synthesizer: Synthesizer, services: Services, cancel: CancelToken
) -> Conditionals:
    """Returns what a model needs to know of the voice.

    Raises InvalidRequest where there is no built-in voice, and what ``VoiceConditionals.get`` raises.
    """
    if voice.reference is None:
        return synthesizer.builtin_voice()
    try:
        return services.conditionals.get(voice.reference, synthesizer, cancel)
    except ReferenceTooShort as error:
        if voice.receipt is None or voice.receipt["voice_id"] is None:
            raise
        raise ReferenceTooShort(
            f"names the voice {voice.receipt['voice_name']!r}, whose recording is too short for the "
            f"{synthesizer.info.spec.name} model: {error.reason}",
            field="voice_name",
            hint="clone the voice from a longer recording, or choose another model",
        ) from error
