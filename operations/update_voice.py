"""``update_voice``: another name for a stored voice, or other words about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypedDict

from cancel import CancelToken
from errors import Problem, VoiceNotFound
from operations.base import Result, Services
from operations.stored_voice import NOT_SHARED, StoredVoiceRequest, alias_warnings, name_conflict_warning
from operations.voice_details import NewVoiceName, VoiceDetails


class UpdateVoiceRequest(VoiceDetails, StoredVoiceRequest):
    """What is not sent stays as it is, and what is sent empty is forgotten."""

    new_voice_name: NewVoiceName | None = None

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[Problem]:
        problems = super().conflicts(sent)
        changes = ["new_voice_name", *VoiceDetails.model_fields]
        if not any(field in sent for field in changes):
            hint = f"send one or more of {', '.join(changes)}"
            problems.append(Problem("there is nothing to change", hint=hint))
        return problems


class UpdateVoiceFacts(TypedDict):
    """The voice as it is now."""

    voice_id: str
    voice_name: str
    voice_info: dict[str, Any]  # see ``VoiceStore.metadata``
    warnings: list[str]


def run(request: UpdateVoiceRequest, services: Services, cancel: CancelToken) -> Result:
    """Returns UpdateVoiceFacts.

    Raises VoiceNotFound, VoiceExists, InvalidRequest (the id), StoreUnavailable.
    """
    voice = services.voices.update(
        name=request.voice_name,
        voice_id=request.voice_id,
        new_name=request.new_voice_name,
        **request.as_stored(),
    )
    warnings = [] if request.new_voice_name is None else _name_warnings(voice, services)
    if request.aliases:
        warnings.extend(alias_warnings(voice, services.voices))
    if not services.store_is_shared:
        warnings.append(NOT_SHARED)
    facts = UpdateVoiceFacts(
        voice_id=voice["voice_id"], voice_name=voice["speaker_name"], voice_info=voice, warnings=warnings
    )
    return Result({**facts})


def _name_warnings(voice: Mapping[str, Any], services: Services) -> list[str]:
    """No lock keeps two workers from giving one name to two voices: one of them has it then."""
    name, voice_id = voice["speaker_name"], voice["voice_id"]
    try:
        has_name = services.voices.metadata(name=name)["voice_id"] == voice_id
    except VoiceNotFound:  # deleted or renamed meanwhile: no other voice has the name
        has_name = True
    return [] if has_name else [name_conflict_warning(name, voice_id)]
