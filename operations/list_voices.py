"""``list_voices``: what the library holds."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from pydantic import Field

from operations.base import Job, Services
from operations.request import Request

# What a caller is told of a voice. Where its file lies is the store's business.
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
)
LONGEST_FILTER = 256  # characters, as of a name; folding a long run of accents takes minutes
FITTING = f"of at most {LONGEST_FILTER} characters"
SEARCHED_FIELDS = ("voice_id", "speaker_name", "description")


class ListVoicesRequest(Request):
    gender: Annotated[str | None, Field(max_length=LONGEST_FILTER, description=f"a word {FITTING}")] = None
    language: Annotated[str | None, Field(max_length=LONGEST_FILTER, description=f"a code {FITTING}")] = None
    query: Annotated[
        str | None,
        Field(max_length=LONGEST_FILTER, description=f"a part of a name, a description or an id, {FITTING}"),
    ] = None
    limit: Annotated[int | None, Field(ge=1, description="a whole number from 1 on")] = None
    offset: Annotated[int, Field(ge=0, description="a whole number from 0 on")] = 0


class ListVoicesResponse(TypedDict):
    """voices: those that match, from ``offset`` on, at most ``limit``, the oldest first.

    total_voices: how many match. stats: of the whole library.
    """

    voices: list[dict[str, Any]]
    total_voices: int
    stats: dict[str, Any]


def run(request: ListVoicesRequest, services: Services, job: Job) -> ListVoicesResponse:
    """Raises StoreUnavailable."""
    matching = [voice for voice in services.voices.list() if _matches(voice, request)]
    end = None if request.limit is None else request.offset + request.limit
    return ListVoicesResponse(
        voices=[{field: voice.get(field) for field in FIELDS} for voice in matching[request.offset : end]],
        total_voices=len(matching),
        stats=dict(services.voices.stats()),
    )


def _matches(voice: Mapping[str, Any], request: ListVoicesRequest) -> bool:
    if request.gender is not None and _folded(voice.get("gender")) != _folded(request.gender):
        return False
    if request.language is not None and _folded(voice.get("language")) != _folded(request.language):
        return False
    return request.query is None or any(
        _folded(request.query) in _folded(voice.get(field)) for field in SEARCHED_FIELDS
    )


def _folded(text: object) -> str:
    """For comparing without regard to case and Unicode form. Not text: empty, as in old stores."""
    return unicodedata.normalize("NFKC", text).casefold() if isinstance(text, str) else ""
