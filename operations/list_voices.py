"""``list_voices``: what the library holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate, takewhile
from typing import Annotated, Any, TypedDict

from pydantic import BeforeValidator, Field

from operations.base import ENVELOPE_BYTES, Job, Services, posted_bytes
from operations.request import Request
from operations.stored_voice import told
from operations.voice_details import MOST_TAGS, folded

LONGEST_FILTER = 256  # characters, as of a name; folding a long run of accents takes minutes
FITTING = f"of at most {LONGEST_FILTER} characters"
SEARCHED_FIELDS = ("voice_id", "speaker_name", "description")
PLACE_FOR_WARNINGS_BYTES = 512


class ListVoicesRequest(Request):
    gender: Annotated[str | None, Field(max_length=LONGEST_FILTER, description=f"a word {FITTING}")] = None
    language: Annotated[str | None, Field(max_length=LONGEST_FILTER, description=f"a code {FITTING}")] = None
    tag: Annotated[
        list[Annotated[str, Field(max_length=LONGEST_FILTER)]] | None,
        BeforeValidator(lambda tag: [tag] if isinstance(tag, str) else tag),
        Field(max_length=MOST_TAGS, description=f"a text {FITTING}, or a list of such"),
    ] = None
    query: Annotated[
        str | None,
        Field(
            max_length=LONGEST_FILTER,
            description=f"a part of a name, a description, a tag or an id, {FITTING}",
        ),
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
    warnings: list[str]


def run(request: ListVoicesRequest, services: Services, job: Job) -> ListVoicesResponse:
    """Raises StoreUnavailable."""
    matching = _matching(services.voices.list(), request)
    end = None if request.limit is None else request.offset + request.limit
    reply = ListVoicesResponse(
        voices=[told(voice) for voice in matching[request.offset : end]],
        total_voices=len(matching),
        stats=dict(services.voices.stats()),
        warnings=[],
    )
    if job.reply_limit_bytes is not None:
        _leave_out_what_does_not_fit(reply, request.offset, job.reply_limit_bytes)
    return reply


def _matching(voices: list[dict[str, Any]], request: ListVoicesRequest) -> list[dict[str, Any]]:
    for field, wanted in (("gender", request.gender), ("language", request.language)):
        if wanted is not None:
            value = folded(wanted)
            voices = [voice for voice in voices if folded(voice[field] or "") == value]
    if request.tag is not None:
        tags = set(map(folded, request.tag))
        voices = [voice for voice in voices if tags.issubset(map(folded, voice["tags"]))]
    if request.query is not None:
        query = folded(request.query)
        voices = [voice for voice in voices if any(query in folded(text) for text in _searched(voice))]
    return voices


def _searched(voice: Mapping[str, Any]) -> Iterable[str]:
    return [*(voice[field] or "" for field in SEARCHED_FIELDS), *voice["tags"]]


def _leave_out_what_does_not_fit(reply: ListVoicesResponse, offset: int, limit_bytes: int) -> None:
    """The platform drops a reply that is larger; one that is cut short says so."""
    room_bytes = limit_bytes - ENVELOPE_BYTES - PLACE_FOR_WARNINGS_BYTES
    if posted_bytes(reply) <= room_bytes:
        return
    voices, reply["voices"] = reply["voices"], []
    if posted_bytes(reply) > room_bytes:  # nearly every voice has a gender of its own
        reply["stats"]["gender_distribution"] = {}
        reply["warnings"].append("gender_distribution is left out, because there are too many genders")
    sizes_bytes = (posted_bytes(voice) + len(", ") for voice in voices)
    used_bytes = accumulate(sizes_bytes, initial=posted_bytes(reply))
    count = sum(1 for _ in takewhile(lambda used: used <= room_bytes, used_bytes)) - 1
    reply["voices"] = voices[:count]
    reply["warnings"].append(
        f"{len(voices) - count} of {len(voices)} voices are left out, because a reply has at most "
        f"{limit_bytes} bytes: ask for them with offset {offset + count}, or for fewer at a time with limit"
    )
