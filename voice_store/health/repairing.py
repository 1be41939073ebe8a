"""Makes a store good again, and loses nothing: what is damaged is put where a person can look at it.

quarantine/<file>               as it was found
quarantine/<file>.about.json    where it lay, what was wrong with it and what was known about the voice
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voice_store.files import Folder, volume_faults
from voice_store.health.checking import is_fresh
from voice_store.health.indexes import CATALOG, INDEXES, MAPPING
from voice_store.health.problems import EMBEDDINGS, FOLDERS, VOICE_SUFFIX, Problem, Remedy
from voice_store.housekeeping import Housekeeping
from voice_store.indexes import MAX_INDEX_BYTES, Indexes
from voice_store.json_files import JsonObject, read_object, to_json
from voice_store.listing import Voices
from voice_store.live import LiveLibrary, Timing
from voice_store.metadata import now
from voice_store.reader import StoreReader

QUARANTINE = "quarantine"


@dataclass
class Repairs:
    """moved: files and where they are now. left: files that were left as they are, and why."""

    moved: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


def repair(root: Path, problems: Sequence[Problem]) -> Repairs:
    """Does what can be done about the problems that ``check`` has found. Raises StoreUnavailable.

    What has changed since, or a moment before, stays: an older program may be writing it.
    """
    repairs = Repairs()
    with volume_faults("repairing the store"):
        repairs.left += [
            (problem.file, problem.says) for problem in problems if problem.remedy is Remedy.BY_HAND
        ]
        if {file for file, _ in repairs.left}.intersection(FOLDERS):
            return repairs  # nothing can be done without them
        store = _Store(root)
        for problem in problems:
            if problem.remedy is Remedy.QUARANTINE:
                if (reason := _reason_to_wait(root, problem)) is None:
                    repairs.moved.append((problem.file, store.quarantine(problem)))
                else:
                    repairs.left.append((problem.file, reason))
        if {file for file, _ in repairs.left}.intersection(INDEXES):
            return repairs  # a rebuild would exchange it
        if not store.has_voices() and not repairs.moved:
            store.tidy_up()
            if any(problem.remedy is Remedy.REBUILD for problem in problems):
                repairs.left.append((EMBEDDINGS, "holds no voices: is the volume mounted? The indexes stay"))
            return repairs
        if any(problem.file in (CATALOG, MAPPING) for problem in problems):
            repairs.moved += store.copy_indexes()
        store.rebuild()
    return repairs


def _reason_to_wait(root: Path, problem: Problem) -> str | None:
    stamp = Folder(root / problem.folder, may_be_link=not problem.folder).stamp_of(problem.name)
    if stamp != problem.stamp:
        return "has changed meanwhile; check again"
    if is_fresh(stamp):
        return "has just been written to, and may not be complete yet; repair again in a few seconds"
    return None


class _Store:
    """What a worker reads and writes a store with. Methods may raise OSError."""

    def __init__(self, root: Path) -> None:
        self._root = Folder(root, may_be_link=True)
        self._quarantine = Folder(root / QUARANTINE)
        self._before = StoreReader(root)
        self._voices = Voices(root)
        self._indexes = Indexes(self._root, self._voices)
        self._housekeeping = Housekeeping(self._root, self._voices)
        self._library = LiveLibrary(self._voices, self._indexes, self._housekeeping, Timing(settle_s=0))

    def tidy_up(self) -> None:
        """Finishes deletions and removes what writers that died have left; indexes stay."""
        self._housekeeping.tidy_up(self._voices.list())

    def has_voices(self) -> bool:
        """Whether there are voices, or notes that say where they have gone."""
        listing = self._voices.list()
        return bool(listing.voice_ids or listing.deleted)

    def quarantine(self, problem: Problem) -> str:
        """Moves a file away; returns where to, from the store's folder."""
        about: JsonObject = {"file": problem.file, "problem": problem.says, "moved_at": now()}
        is_voice = problem.folder == EMBEDDINGS
        voice_id = problem.name.removesuffix(VOICE_SUFFIX)
        if is_voice and (known := self._known(voice_id)):
            about["voice"] = known
        place = self._reserve(problem, about)
        folder = Folder(self._root.path / problem.folder, may_be_link=not problem.folder)
        folder.move(problem.name, self._quarantine, place)
        if is_voice:  # all that they say is in the JSON file; a voice that gets this id is another one
            self._voices.revisions.drop(voice_id)
        return f"{QUARANTINE}/{place}"

    def copy_indexes(self) -> list[tuple[str, str]]:
        """Keeps what catalog and mapping say, since entries of voices that are gone are about to go."""
        copies = []
        for name in (CATALOG, MAPPING):
            if content := read_object(self._root, name, MAX_INDEX_BYTES):
                problem = Problem("", name, "a copy from before a repair", Remedy.QUARANTINE)
                place = self._reserve(problem, {"file": name, "copied_at": now()})
                self._quarantine.replace(place, to_json(content))
                copies.append((f"a copy of {name}", f"{QUARANTINE}/{place}"))
        return copies

    def rebuild(self) -> None:
        """Indexes and metadata are as the voices say; what writers that died have left is gone."""
        library = self._library.write()
        for voice_id in library.voices:
            if not self._indexes.metadata.folder.has(f"{voice_id}.json"):
                self._indexes.metadata.describe(voice_id, self._indexes.entry(voice_id))

    def _known(self, voice_id: str) -> JsonObject:
        """What indexes, changes and the metadata file say about a voice."""
        described = self._indexes.metadata.read(voice_id)
        return described | self._before.indexes.entry(voice_id)

    def _reserve(self, problem: Problem, about: JsonObject) -> str:
        """A name in the quarantine that nothing has; the JSON file beside it takes it."""
        self._quarantine.make()
        prefix = "" if problem.folder in ("", EMBEDDINGS) else f"{problem.folder}."
        for number in itertools.count(1):
            place = f"{prefix}{problem.name}" + (f".{number}" if number > 1 else "")
            if not self._quarantine.has(place) and self._quarantine.create(
                f"{place}.about.json", to_json(about)
            ):
                return place
        raise AssertionError("the numbers do not end")
