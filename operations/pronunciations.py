"""How words are to be spoken: entries that are sent with a job, kept with a voice, or kept for all voices."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from operations.request import FieldError, Request, short_text
from speech.text.pronunciations import Pronunciation
from voice_store import VoiceStore
from voice_store.pronunciations import (
    MAX_PRONUNCIATIONS,
    MAX_SAY_CHARS,
    MAX_TEXT_CHARS,
    check_entry,
    pronunciation_key,
)

_CACHED_LISTS = 64


class PronunciationEntry(Request):
    """How a word or a phrase is spoken."""

    text: Annotated[
        str,
        Field(description=f"a text of 1 to {MAX_TEXT_CHARS} visible characters, as it is written"),
        short_text(MAX_TEXT_CHARS),
        AfterValidator(str.strip),
    ]
    say: Annotated[
        str,
        Field(description=f"a text of 1 to {MAX_SAY_CHARS} visible characters, as it is to be spoken"),
        short_text(MAX_SAY_CHARS),
        AfterValidator(str.strip),
    ]
    case_sensitive: Annotated[bool, Field(description="true or false")] = False
    whole_word: Annotated[bool, Field(description="true or false")] = True


def _check_entries(entries: list[PronunciationEntry]) -> list[PronunciationEntry]:
    seen: dict[object, int] = {}
    for index, entry in enumerate(entries):
        first = seen.setdefault(pronunciation_key(entry.text, entry.case_sensitive), index)
        if first != index:
            raise FieldError(f"holds the same text at [{first}] and [{index}]", "send it once")
    return entries


# A field of a request. None: not sent.
Pronunciations = Annotated[
    list[PronunciationEntry] | None,
    Field(
        max_length=MAX_PRONUNCIATIONS,
        description=f"a list of at most {MAX_PRONUNCIATIONS} objects that hold text and say",
    ),
    AfterValidator(lambda entries: None if entries is None else _check_entries(entries)),
]


def as_stored(entries: Sequence[PronunciationEntry] | None) -> list[dict[str, Any]] | None:
    """Returns the entries as the voice store's methods take them."""
    return None if entries is None else [entry.model_dump() for entry in entries]


def levels_for(
    sent: Sequence[PronunciationEntry] | None, of_voice: Sequence[Mapping[str, Any]], store: VoiceStore
) -> tuple[list[tuple[Pronunciation, ...]], list[str]]:
    """Returns the lists that ``find_pronunciations`` takes, and warnings about entries that are unusable.

    sent: with the job. of_voice: ``pronunciations`` of the voice's metadata, which another program or
    another version may have written. store: has those for all voices.
    """
    job = tuple(Pronunciation(**entry.model_dump()) for entry in sent or ())
    voice, voice_warnings = _usable(tuple(tuple(entry.items()) for entry in of_voice))
    for_all = store.pronunciations()
    levels = [job, voice, _pronunciations(for_all.entries)]
    return levels, [*voice_warnings, *for_all.warnings]


def _pronunciations(entries: Iterable[Mapping[str, Any]]) -> tuple[Pronunciation, ...]:
    return tuple(Pronunciation(**entry) for entry in entries)


@functools.lru_cache(_CACHED_LISTS)
def _usable(
    entries: tuple[tuple[tuple[str, Any], ...], ...],
) -> tuple[tuple[Pronunciation, ...], tuple[str, ...]]:
    """The entries that can be used, and a warning that names the others."""
    usable, faults = list[dict[str, Any]](), list[str]()
    for index, entry in enumerate(map(dict, entries)):
        if problems := check_entry(entry):
            faults += [f"pronunciations[{index}].{problem.render()}" for problem in problems]
        else:
            usable.append(entry)
    if not faults:
        return _pronunciations(usable), ()
    named = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
    return _pronunciations(usable), (f"ignored, though stored with the voice: {named}",)
