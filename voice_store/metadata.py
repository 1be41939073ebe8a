"""What is known about a voice besides its audio, in the keys that programs around the store share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from voice_store.names import readable

VOICE_TYPE = "chattts_embedding"  # the published name of this file format
DATE_FORMAT = "%Y-%m-%dT%H:%M:%S"  # UTC, without saying so
MAX_DESCRIPTION_CHARACTERS = 2_000


def describe_voice(
    voice_id: str,
    name: str,
    waveform: Waveform,
    created_at: str,
    original_file: str | None = None,
    details: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The metadata of a new voice, as written to its file and to the catalog.

    details: see ``optional_details``.
    """
    return {
        "voice_id": voice_id,
        "speaker_name": name,
        "gender": "unknown",
        "original_file": readable(original_file),
        "embedding_file": embedding_file(voice_id),
        "duration": round(waveform.duration_s, 2),
        "sample_rate": waveform.sample_rate_hz,
        "created_at": created_at,
        "type": VOICE_TYPE,
        **(details or {}),
    }


def optional_details(*, description: str | None, gender: str | None, language: str | None) -> dict[str, str]:
    """Those that were given; the others leave no key."""
    details = {
        "description": readable(description, MAX_DESCRIPTION_CHARACTERS),
        "gender": readable(gender),
        "language": readable(language),
    }
    return {key: value for key, value in details.items() if value}


def is_complete(entry: Mapping[str, Any]) -> bool:
    """Whether an entry says enough to list the voice without opening its file."""
    return bool(entry_name(entry)) and _duration_s(entry) is not None


def tidy_metadata(voice_id: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry from a file that any program may have written, as callers get it: JSON-safe, our keys only."""
    rate = entry.get("sample_rate")
    return {
        "voice_id": voice_id,
        "speaker_name": entry_name(entry) or voice_id,
        "gender": readable(entry.get("gender")) or "unknown",
        "original_file": readable(entry.get("original_file")),
        "embedding_file": embedding_file(voice_id),
        "duration": _duration_s(entry),
        "sample_rate": rate if type(rate) is int and 0 < rate < 2**31 else MODEL_SAMPLE_RATE_HZ,
        "created_at": readable(entry.get("created_at"), max_characters=32),
        "type": readable(entry.get("type")) or VOICE_TYPE,
        "description": readable(entry.get("description"), MAX_DESCRIPTION_CHARACTERS) or None,
        "language": readable(entry.get("language")) or None,
    }


def embedding_file(voice_id: str) -> str:
    """Where a voice's file lies, from the store's folder, as the indexes of all programs write it."""
    return f"embeddings/{voice_id}.pkl.gz"


def entry_name(entry: Mapping[str, Any]) -> str:
    """The name that an entry gives its voice; "" if it gives none."""
    return readable(entry.get("speaker_name")) or readable(entry.get("name"))


def _duration_s(entry: Mapping[str, Any]) -> float | None:
    duration = entry.get("duration")
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        return None
    # Compared before it becomes a float: a hostile integer may be too large for one.
    if not 0 <= duration < 1e9 or not math.isfinite(duration):
        return None
    return float(duration)


# Whatever else an entry holds belongs to another program.
KEYS = frozenset(tidy_metadata("", {}))
