"""The voices of a store at a point in time: which there are, and which one a name means."""

from __future__ import annotations

import copy
import difflib
import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

from voice_store import names
from voice_store.names import MAX_CODE_POINTS, MAX_UNNORMALIZED, MAX_VISIBLE_CHARACTERS

_MEMOIZED_NAMES = 2**16
_DATED = re.compile(r"\d{4}-\d\d")


class Library:
    """A snapshot.

    voices: id -> metadata (see ``tidy_metadata``). Of two voices with one alias, the newer one has it.
    aliases: further names that other programs gave to voices -> id. A voice's own name goes before its and
    other voices' aliases, and those before these.
    """

    def __init__(self, voices: Mapping[str, dict[str, Any]], aliases: Mapping[str, str]) -> None:
        # Two voices may carry one name, after a race or from an old program: the newest has it, then the
        # highest id, wherever this is asked. The others stay reachable by id.
        self.voices = dict(sorted(voices.items(), key=_age))
        self.own_names = {
            _composed(voice["speaker_name"]): voice_id for voice_id, voice in self.voices.items()
        }
        self._aliases = aliases
        known = {
            _seen_name(alias): voice_id
            for alias, voice_id in aliases.items()
            if voice_id in voices and len(alias) <= MAX_CODE_POINTS
        }
        own = {_seen_name(voice["speaker_name"]): voice_id for voice_id, voice in self.voices.items()}
        folded = {_fold_name(name): voice_id for name, voice_id in own.items()}
        given = {
            _fold_name(alias): voice_id
            for voice_id, voice in self.voices.items()
            for alias in voice["aliases"]
        } | folded
        exact = {  # of aliases that no other voice has, however they are spelled
            _seen_name(alias): voice_id
            for voice_id, voice in self.voices.items()
            for alias in voice["aliases"]
            if given[_fold_name(alias)] == voice_id
        }
        self._exact = known | exact | own
        self._folded = {_fold_name(name): voice_id for name, voice_id in known.items()} | given

    def with_changed(self, voices: Mapping[str, dict[str, Any]]) -> Library:
        """This and further voices, or other metadata of those there are.

        Takes a tenth of the time where all are new and have new names.
        """
        changed = {key: voice for key, voice in voices.items() if voice != self.voices.get(key)}
        newer = dict(sorted(changed.items(), key=_age))
        if not newer:
            return self
        has_aliases = any(voice["aliases"] for voice in newer.values())
        names = {_composed(voice["speaker_name"]): voice_id for voice_id, voice in newer.items()}
        folded = {_fold_name(name) for name in names}
        if (
            has_aliases
            or len(folded) < len(newer)
            or newer.keys() & self.voices.keys()
            or folded & self._folded.keys()
        ):
            return Library(self.voices | newer, self._aliases)
        library = copy.copy(self)
        library.voices = self.voices | newer
        last = next(reversed(self.voices.items()), None)
        if last and _age(next(iter(newer.items()))) < _age(last):
            library.voices = dict(sorted(library.voices.items(), key=_age))
        library.own_names = self.own_names | names
        library._exact = self._exact | {_seen_name(name): voice_id for name, voice_id in names.items()}
        library._folded = self._folded | {_fold_name(name): voice_id for name, voice_id in names.items()}
        return library

    def find(self, name: str) -> str | None:
        """The id of the voice of exactly that name, else of that name in another case or Unicode form.

        Characters that nobody sees make no difference.
        """
        if len(name) > MAX_UNNORMALIZED:
            return None
        return self._exact.get(names.seen_name(name)) or self._folded.get(names.fold_name(name))

    def nearest_names(self, name: str) -> list[str]:
        """Up to three names that look like it, the most alike first."""
        spelled = {_without_accents(own): own for own in self.own_names}
        query = _strip_accents(name[:MAX_VISIBLE_CHARACTERS])
        return [spelled[folded] for folded in difflib.get_close_matches(query, spelled, n=3)]

    def stats(self) -> dict[str, Any]:
        """total_voices, gender_distribution (gender -> count) and average_duration in seconds."""
        durations_s = [voice["duration"] for voice in self.voices.values() if voice["duration"] is not None]
        return {
            "total_voices": len(self.voices),
            "gender_distribution": dict(Counter(voice["gender"] for voice in self.voices.values())),
            "average_duration": round(sum(durations_s) / len(durations_s), 2) if durations_s else 0.0,
        }


def _age(voice: tuple[str, Mapping[str, Any]]) -> tuple[str, str]:
    """For sorting by date, then by id; what does not begin like a date counts as before all."""
    voice_id, metadata = voice
    created_at: str = metadata["created_at"]
    return created_at if _DATED.match(created_at) else "", voice_id


def _strip_accents(name: str) -> str:
    """For likeness alone: whoever leaves out an accent still wants to be told the name."""
    decomposed = unicodedata.normalize("NFKD", names.fold_name(name))
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


# Of names in the store, which hardly change from one snapshot to the next; not of what callers ask for.
_memoized = functools.lru_cache(_MEMOIZED_NAMES)
_fold_name, _without_accents = map(_memoized, (names.fold_name, _strip_accents))
_composed, _seen_name = map(_memoized, (_compose, names.seen_name))
