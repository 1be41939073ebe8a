"""How a job names one stored voice, and what a caller sees of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import Field

from errors import Problem, VoiceNotFound
from operations.request import Request
from voice_store import VoiceStore

# The metadata that callers see: where a voice's file lies is the store's business.
FIELDS = (
    "voice_id",
    "speaker_name",
    "gender",
    "language",
    "duration",
    "original_file",
    "type",
    "created_at",
    "description",
    "tags",
    "default_parameters",
    "aliases",
    "consent",
)
# Shown of a single voice only: a list of voices would be megabytes long.
FIELDS_OF_ONE = (*FIELDS, "pronunciations")
NOT_SHARED = (
    "no network volume is attached to this endpoint: what was stored ends with this worker, and no other "
    "worker sees it; attach a volume"
)

VoiceName = Annotated[
    str | None, Field(min_length=1, max_length=1024, description="the name of a stored voice")
]
VoiceId = Annotated[str | None, Field(min_length=1, max_length=100, description="the id of a stored voice")]


class StoredVoiceRequest(Request):
    """A request about one voice of the store: exactly one of the two fields is sent."""

    voice_name: VoiceName = None
    voice_id: VoiceId = None

    @classmethod
    def conflicts(cls, sent: Collection[str]) -> list[Problem]:
        match ("voice_name" in sent, "voice_id" in sent):
            case (True, True):
                return [Problem("voice_name and voice_id exclude each other", hint="send one of them")]
            case (False, False):
                return [
                    Problem(
                        "is required", "voice_name", "send the name of a stored voice, or its id as voice_id"
                    )
                ]
        return []


def public_metadata(metadata: Mapping[str, Any], fields: Collection[str] = FIELDS) -> dict[str, Any]:
    """What callers see of a voice. metadata: see ``VoiceStore.metadata``."""
    return {field: metadata[field] for field in fields}


def alias_warnings(voice: Mapping[str, Any], voices: VoiceStore) -> list[str]:
    """Warnings about aliases of a voice that mean another one. Raises StoreUnavailable."""
    warnings = []
    for alias in voice["aliases"]:
        try:
            meant = voices.metadata(name=alias)
        except VoiceNotFound:  # the voice was deleted meanwhile
            continue
        if meant["voice_id"] != voice["voice_id"]:
            why = "which has it as its name, or is newer"
            warnings.append(f'the alias "{alias}" means the voice {meant["voice_id"]}, {why}')
    return warnings


def name_conflict_warning(name: str, voice_id: str) -> str:
    """A warning for the one of two voices with the same name that the name does not mean."""
    return (
        f'another worker gave the name "{name}" to another voice at the same moment, and the name means that '
        f"one: use voice_id {voice_id} for this one, or give it another name with update_voice"
    )
