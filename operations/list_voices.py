"""``list_voices``: what the library holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypedDict

from pydantic import BeforeValidator, Field

from cancel import CancelToken
from operations.base import Result, Services
from operations.request import Request
from operations.stored_voice import public_metadata
from operations.voice_details import MAX_TAGS, casefold_nfkc

MAX_FILTER_CHARS = 256  # as of a name; folding a long run of accents takes minutes
FITTING = f"of at most {MAX_FILTER_CHARS} characters"
SEARCHED_FIELDS = ("voice_id", "speaker_name", "description")


class ListVoicesRequest(Request):
    gender: Annotated[str | None, Field(max_length=MAX_FILTER_CHARS, description=f"a word {FITTING}")] = None
    language: Annotated[str | None, Field(max_length=MAX_FILTER_CHARS, description=f"a code {FITTING}")] = (
        None
    )
    tag: Annotated[
        list[Annotated[str, Field(max_length=MAX_FILTER_CHARS)]] | None,
        BeforeValidator(lambda tag: [tag] if isinstance(tag, str) else tag),
        Field(max_length=MAX_TAGS, description=f"a text {FITTING}, or a list of such"),
    ] = None
    query: Annotated[
        str | None,
        Field(
            max_length=MAX_FILTER_CHARS,
            description=f"a part of a name, a description, a tag or an id, {FITTING}",
        ),
    ] = None
    limit: Annotated[int | None, Field(ge=1, description="a whole number from 1 on")] = None
    offset: Annotated[int, Field(ge=0, description="a whole number from 0 on")] = 0


class ListVoicesFacts(TypedDict):
    """What is returned."""

    voices: list[dict[str, Any]]  # the matching ones from ``offset`` on, at most ``limit``, the oldest first
    total_voices: int  # how many match
    stats: dict[str, Any]  # of the whole library, see ``VoiceStore.stats``
    warnings: list[str]


def run(request: ListVoicesRequest, services: Services, cancel: CancelToken) -> Result:
    """Returns ListVoicesFacts. Raises StoreUnavailable."""
    matching = matching_voices(services.voices.list(), request)
    end = None if request.limit is None else request.offset + request.limit
    facts = ListVoicesFacts(
        voices=[public_metadata(voice) for voice in matching[request.offset : end]],
        total_voices=len(matching),
        stats=dict(services.voices.stats()),
        warnings=[],
    )
    return Result({**facts})


def matching_voices(voices: list[dict[str, Any]], request: ListVoicesRequest) -> list[dict[str, Any]]:
    """The voices that pass all filters of the request."""
    for field, wanted in (("gender", request.gender), ("language", request.language)):
        if wanted is not None:
            value = casefold_nfkc(wanted)
            voices = [voice for voice in voices if casefold_nfkc(voice[field] or "") == value]
    if request.tag is not None:
        tags = set(map(casefold_nfkc, request.tag))
        voices = [voice for voice in voices if tags.issubset(map(casefold_nfkc, voice["tags"]))]
    if request.query is not None:
        query = casefold_nfkc(request.query)
        voices = [voice for voice in voices if any(query in casefold_nfkc(t) for t in _searched_texts(voice))]
    return voices


def _searched_texts(voice: Mapping[str, Any]) -> Iterable[str]:
    return [*(voice[field] or "" for field in SEARCHED_FIELDS), *voice["tags"]]
