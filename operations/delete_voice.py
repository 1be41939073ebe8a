"""``delete_voice``: removes a stored voice for good."""

from __future__ import annotations

from typing import Annotated, TypedDict

from pydantic import BeforeValidator, Field

from cancel import CancelToken
from operations.base import Result, Services
from operations.request import FieldError, value_excerpt
from operations.stored_voice import StoredVoiceRequest

NO_WAY_BACK = "deleting a voice cannot be undone"


def _check_confirmed(confirm: object) -> object:
    if confirm is not True:
        raise FieldError(f"must be true, not {value_excerpt(confirm)}", NO_WAY_BACK)
    return confirm


class DeleteVoiceRequest(StoredVoiceRequest):
    confirm: Annotated[
        bool, Field(description=f"true, because {NO_WAY_BACK}"), BeforeValidator(_check_confirmed)
    ]


class DeleteVoiceFacts(TypedDict):
    """The voice that is gone."""

    voice_id: str
    voice_name: str
    deleted: bool  # False when the voice had been deleted before


def run(request: DeleteVoiceRequest, services: Services, cancel: CancelToken) -> Result:
    """Returns DeleteVoiceFacts. Raises VoiceNotFound, InvalidRequest (the id), StoreUnavailable."""
    result = services.voices.delete(name=request.voice_name, voice_id=request.voice_id)
    facts = DeleteVoiceFacts(voice_id=result.voice_id, voice_name=result.name, deleted=result.deleted)
    return Result({**facts})
