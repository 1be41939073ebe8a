"""How a job names one stored voice, and what a caller sees of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import Field

from errors import Problem, VoiceNotFound
from operations.request import Request
from voice_store import VoiceStore
from voice_store.names import fold_name

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
    """Returns warnings about aliases of a voice that another one has, too. Raises StoreUnavailable."""
    aliases = {fold_name(alias): alias for alias in voice["aliases"]}
    warnings = []
    others = [other for other in voices.list() if other["voice_id"] != voice["voice_id"]] if aliases else []
    for other in others:
        own = fold_name(other["speaker_name"])
        for folded in aliases.keys() & {own, *map(fold_name, other["aliases"])}:
            alias, name = aliases[folded], f'"{other["speaker_name"]}" ({other["voice_id"]})'
            if folded == own:
                warnings.append(f'the alias "{alias}" means the voice {name}, of which it is the name')
                continue
            try:
                meant = voices.metadata(name=alias)["voice_id"]
            except VoiceNotFound:  # the voices were deleted meanwhile
                continue
            whom = "this one" if meant == voice["voice_id"] else f"the voice {meant}"
            warnings.append(f'the voice {name} has the alias "{alias}", too: it means {whom}, the newest')
    return warnings


def name_conflict_warning(name: str, voice_id: str) -> str:
    """A warning for the one of two voices with the same name that the name does not mean."""
    return (
        f'another worker gave the name "{name}" to another voice at the same moment, and the name means that '
        f"one: use voice_id {voice_id} for this one, or give it another name with update_voice"
    )
