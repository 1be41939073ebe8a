"""What is known about a voice besides its audio, in the keys that programs around the store share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack

from audio.waveform import MODEL_SAMPLE_RATE_HZ
from voice_store.names import MAX_VISIBLE_CHARACTERS, fold_name, readable
from voice_store.pronunciations import tidy_entries

VOICE_TYPE = "chattts_embedding"  # the published name of this file format
DATE_FORMAT = "%Y-%m-%dT%H:%M:%S"  # UTC, without saying so
MAX_DESCRIPTION_CHARACTERS = 2_000
MAX_TAGS = 32
MAX_DEFAULT_PARAMETERS = 32
MAX_ALIASES = 16
CONSENT_KEYS = ("by", "date", "statement")  # who agreed to the clone, when, and in which words
MAX_STATEMENT_CHARACTERS = 2_000
MAX_FORMER_NAMES = 32  # with it, no revision is larger than may be read


class Details(TypedDict, total=False):
    """What can change about a voice besides its name. None leaves it as it is, an empty value forgets it.

    language: a code. default_parameters: numbers by name. consent: texts by "by", "date" and "statement".
    pronunciations: see ``voice_store.pronunciations.tidy_entries``.
    """

    gender: str | None
    description: str | None
    language: str | None
    tags: Iterable[str] | None
    default_parameters: Mapping[str, float] | None
    aliases: Iterable[str] | None
    consent: Mapping[str, str] | None
    pronunciations: Iterable[Mapping[str, Any]] | None


DETAILS = tuple(Details.__annotations__)
# How an entry says which state of the details it knows.
ABOUT = (*DETAILS, "original_file")  # what a voice's own file says besides its name and date
REVISION = "revision"
FORMER_NAMES = "former_names"

# One for all voices that have none: Python's garbage collector looks at every list and dict there is.
_EMPTY: dict[str, Any] = {
    "gender": "unknown",
    "description": None,
    "language": None,
    "tags": [],
    "default_parameters": {},
    "aliases": [],
    "consent": {},
    "pronunciations": [],
}


def now() -> str:
    """As entries hold dates."""
    return datetime.now(UTC).strftime(DATE_FORMAT)


def given_details(**given: Unpack[Details]) -> dict[str, Any]:
    """Returns the details that are not None, fit to be stored; empty ones are to be forgotten."""
    return {key: _TIDY[key](_plain(value)) for key, value in given.items() if value is not None}


def is_complete(entry: Mapping[str, Any]) -> bool:
    """Whether an entry says enough to list the voice without opening its file."""
    return bool(entry_name(entry)) and _duration_s(entry) is not None


def tidy_metadata(voice_id: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry from a file that any program may have written, as callers get it: JSON-safe, our keys only."""
    rate = entry.get("sample_rate")
    details = {key: _TIDY[key](entry.get(key)) or empty for key, empty in _EMPTY.items()}
    return {  # in the order in which exports have always had them, and are compared
        "voice_id": voice_id,
        "speaker_name": entry_name(entry) or voice_id,
        "gender": details["gender"],
        "original_file": readable(entry.get("original_file")),
        "embedding_file": embedding_file(voice_id),
        "duration": _duration_s(entry),
        "sample_rate": rate if type(rate) is int and 0 < rate < 2**31 else MODEL_SAMPLE_RATE_HZ,
        "created_at": readable(entry.get("created_at"), max_characters=32),
        "type": readable(entry.get("type")) or VOICE_TYPE,
        **details,
    }


def copy_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """For whoever may change it: voices without tags or parameters share what they have instead."""
    return {
        **metadata,
        "tags": [*metadata["tags"]],
        "default_parameters": {**metadata["default_parameters"]},
        "aliases": [*metadata["aliases"]],
        "consent": {**metadata["consent"]},
        "pronunciations": [{**entry} for entry in metadata["pronunciations"]],
    }


def revised(entry: Mapping[str, Any], revision: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with what the revision says in the place of what it said; empty details are forgotten."""
    merged = {**entry, **revision}
    if "name" in entry and entry_name(entry) != revision["speaker_name"]:
        merged["name"] = revision["speaker_name"]  # an old program's second key for it
    return {key: value for key, value in merged.items() if value or key not in revision}


def next_revision(
    entry: Mapping[str, Any], last: Mapping[str, Any], number: int, name: str, details: Mapping[str, Any]
) -> dict[str, Any]:
    """All that can change about a voice, after a change.

    entry: what is known now. last: the latest revision, empty before the first. number: of this one. name:
    what the voice is called from now on. details: those that change, see ``given_details``.
    """
    known = tidy_metadata("", entry)
    forgotten = {key: value for key, value in last.items() if key in DETAILS and not value}
    kept = {key: known[key] for key in DETAILS if known[key]}
    old_names = [former for former in (*former_names(entry), entry_name(entry)) if former not in ("", name)]
    return {
        "speaker_name": name,
        REVISION: number,
        FORMER_NAMES: list(dict.fromkeys(old_names))[-MAX_FORMER_NAMES:],
        **forgotten,
        **kept,
        **details,
    }


def revision_of(entry: Mapping[str, Any]) -> int:
    """How often what an entry says had been changed; 0 for a voice as it was cloned."""
    number = entry.get(REVISION)
    return number if type(number) is int and 0 < number < 10**9 else 0


def former_names(entry: Mapping[str, Any]) -> list[str]:
    """What the voice was called before it was renamed."""
    names = entry.get(FORMER_NAMES)
    latest = names[-MAX_FORMER_NAMES:] if isinstance(names, list) else []
    return [name for name in map(readable, latest) if name]


def is_former_name(name: str, entry: Mapping[str, Any]) -> bool:
    """Whether the voice was called that before it was renamed, and is not any more."""
    folded = fold_name(name)
    return folded in map(fold_name, former_names(entry)) and folded != fold_name(entry_name(entry))


def embedding_file(voice_id: str) -> str:
    """Where a voice's file lies, from the store's folder, as the indexes of all programs write it."""
    return f"embeddings/{voice_id}.pkl.gz"


def entry_name(entry: Mapping[str, Any]) -> str:
    """The name that an entry gives its voice; "" if it gives none."""
    return readable(entry.get("speaker_name")) or readable(entry.get("name"))


def foreign_keys(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What other programs keep in an entry."""
    return {key: value for key, value in entry.items() if key not in KEYS}


def _tags(value: object) -> list[str]:
    """In the order given, each once."""
    tags = value if isinstance(value, list) else []
    shown = (readable(tag, MAX_VISIBLE_CHARACTERS) for tag in tags[:MAX_TAGS])
    return list(dict.fromkeys(tag for tag in shown if tag))


def _aliases(value: object) -> list[str]:
    """In the order given, each once."""
    aliases = value if isinstance(value, list) else []
    shown = (readable(alias) for alias in aliases[:MAX_ALIASES])
    return list({fold_name(alias): alias for alias in shown if fold_name(alias)}.values())


def _consent(value: object) -> dict[str, str]:
    """What is said of the consent to a clone."""
    said = value if isinstance(value, dict) else {}
    shown = {key: readable(said.get(key), MAX_STATEMENT_CHARACTERS) for key in CONSENT_KEYS}
    return {key: text for key, text in shown.items() if text}


def _parameters(value: object) -> dict[str, int | float]:
    """Which names and ranges mean something is for those to say who speak with the voice."""
    parameters = list(value.items())[:MAX_DEFAULT_PARAMETERS] if isinstance(value, dict) else []
    return {
        readable(name): number
        for name, number in parameters
        if readable(name) and type(number) in (int, float) and abs(number) < 2**53
    }


def _plain(value: Any) -> Any:
    """As JSON has it: what a caller gives may be any mapping or iterable."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    return [dict(item) if isinstance(item, Mapping) else item for item in value]


_TIDY: dict[str, Callable[[Any], Any]] = {
    "gender": lambda value: readable(value) or "unknown",
    "description": lambda value: readable(value, MAX_DESCRIPTION_CHARACTERS),
    "language": readable,
    "tags": _tags,
    "default_parameters": _parameters,
    "aliases": _aliases,
    "consent": _consent,
    "pronunciations": tidy_entries,
}


def _duration_s(entry: Mapping[str, Any]) -> float | None:
    duration = entry.get("duration")
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        return None
    # Compared before it becomes a float: a hostile integer may be too large for one.
    if not 0 <= duration < 1e9 or not math.isfinite(duration):
        return None
    return float(duration)


# Whatever else an entry holds belongs to another program.
KEYS = frozenset(tidy_metadata("", {})) | {REVISION, FORMER_NAMES}
