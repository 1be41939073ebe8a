"""``delete_voice``: removes a stored voice for good."""

from __future__ import annotations

from typing import Annotated, TypedDict

from pydantic import BeforeValidator, Field

from operations.base import Job, Services
from operations.request import shown_value
from operations.stored_voice import StoredVoiceRequest

NO_WAY_BACK = "deleting a voice cannot be undone"


def _check_confirmed(confirm: object) -> object:
    if confirm is not True:
        raise ValueError(f"must be true, not {shown_value(confirm)}: {NO_WAY_BACK}")
    return confirm


class DeleteVoiceRequest(StoredVoiceRequest):
    confirm: Annotated[
        bool, Field(description=f"true, because {NO_WAY_BACK}"), BeforeValidator(_check_confirmed)
    ]


class DeleteVoiceResponse(TypedDict):
    """deleted: False when the voice had been deleted before."""

    voice_id: str
    voice_name: str
    deleted: bool


def run(request: DeleteVoiceRequest, services: Services, job: Job) -> DeleteVoiceResponse:
    """Raises VoiceNotFound, InvalidRequest (the id), StoreUnavailable."""
    result = services.voices.delete(name=request.voice_name, voice_id=request.voice_id)
    return DeleteVoiceResponse(voice_id=result.voice_id, voice_name=result.name, deleted=result.deleted)
