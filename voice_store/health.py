"""Is a store as it should be, and making it so: ``check`` changes nothing, ``repair`` loses nothing.

quarantine/<file>               what was damaged, as it lay there
quarantine/<file>.about.json    where it lay, what was wrong with it and what was known about the voice
"""

from __future__ import annotations

import functools
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from errors import StoreCorrupt, StoreUnavailable
from voice_store.deletions import MAX_NOTE_BYTES
from voice_store.files import Folder, Stamp, volume_faults
from voice_store.folders import LEFTOVER_AFTER_S, StoreFolders, VoiceFiles
from voice_store.indexes import CATALOG, INDEXES, MAPPING, MAX_INDEX_BYTES, STATS
from voice_store.json_files import JsonObject, is_damaged, read_object, to_json
from voice_store.live import LiveLibrary, Timing
from voice_store.metadata import now
from voice_store.names import fold_name, is_voice_id, readable
from voice_store.pronunciations import FILE_NAME as PRONUNCIATIONS
from voice_store.pronunciations import PronunciationsFile
from voice_store.reader import StoreReader
from voice_store.sidecars import MAX_JSON_BYTES

QUARANTINE = "quarantine"
FOLDERS = ("embeddings", "metadata", "revisions", "deleted")  # what a worker cannot do without
SETTLED_AFTER_S = 5.0  # a file that was written to this long ago is not being written any more

_VOICE_SUFFIX = ".pkl.gz"
_NO_JSON = "is damaged: it is no JSON file"


class Remedy(Enum):
    """What is to be done about a problem."""

    QUARANTINE = auto()  # the file is put where nobody reads it
    REBUILD = auto()  # indexes are derived anew from the voices
    TIDY = auto()  # what a writer that died left unfinished is finished or removed
    BY_HAND = auto()  # only a person can tell


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file.

    folder: its name, "" for the store's own. name: of the file in it, or "" for the folder itself.
    says: the rest of a sentence. stamp: of the file that was looked at, where it is to be moved.
    """

    folder: str
    name: str
    says: str
    remedy: Remedy
    stamp: Stamp | None = None

    @property
    def file(self) -> str:
        return "/".join(part for part in (self.folder, self.name) if part)

    def __str__(self) -> str:
        return f"{self.file}: {self.says}"


@dataclass(frozen=True)
class Report:
    """problems: in the order of the files. notes: sentences about what is unusual, but no damage.

    voices: how many there are, damaged ones too. sound_voices: of those, and how long they are together.
    """

    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    voices: int = 0
    sound_voices: int = 0
    audio_s: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """About the file of one voice. duration_s: None unless it is sound."""

    voice_id: str
    duration_s: float | None
    problem: Problem | None = None


@dataclass
class Repairs:
    """moved: files and where they are now. left: files that were left as they are, and why."""

    moved: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


Watch = Callable[[Iterator[Verdict], int], Iterable[Verdict]]


def check(
    root: Path,
    *,
    jobs: int = 1,
    watch: Watch = lambda verdicts, total: verdicts,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Returns what is wrong with the store at ``root``.

    jobs: how many threads decode voices. watch: is given the verdicts on the voices, as they come, and how
    many there will be; passes them on. Raises StoreUnavailable where no store can be read.
    """
    if not root.is_dir():
        raise StoreUnavailable("there is no such store", hint="name its folder")
    with volume_faults("checking the store"):
        problems = list(_check_folders(root))
        if any(problem.folder != "metadata" for problem in problems):
            return Report(tuple(problems))
        problems += _check_indexes_twice(root, sleep)
        reader = StoreReader(root)
        look = functools.partial(_check_voice, reader)
        with ThreadPoolExecutor(jobs) as threads:
            found = threads.map(look, reader.voice_ids) if jobs > 1 else map(look, reader.voice_ids)
            verdicts = list(watch(iter(found), len(reader.voice_ids)))
        problems += [verdict.problem for verdict in verdicts if verdict.problem is not None]
        problems += _check_what_is_no_file(reader.folders.voices)
        problems += _check_changes(reader)
        problems += [
            Problem("", PRONUNCIATIONS, says, Remedy.BY_HAND)
            for says in PronunciationsFile(reader.folders.root).read().warnings
        ]
    durations_s = [verdict.duration_s for verdict in verdicts if verdict.duration_s is not None]
    return Report(
        tuple(sorted(problems, key=lambda problem: problem.file)),
        tuple(_find_namesakes(reader)),
        len(reader.voice_ids),
        len(durations_s),
        sum(durations_s),
    )


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
        before, folders = StoreReader(root), StoreFolders(root)
        for problem in problems:
            if problem.remedy is Remedy.QUARANTINE:
                reason = _reason_to_wait(root, problem)
                if reason is None:
                    repairs.moved.append((problem.file, _quarantine(folders, before, problem)))
                else:
                    repairs.left.append((problem.file, reason))
        if {file for file, _ in repairs.left}.intersection(INDEXES):
            return repairs  # a rebuild would exchange it
        listing = folders.list()
        if not (listing.voice_ids or listing.deleted or repairs.moved):
            folders.sweep(listing)
            if any(problem.remedy is Remedy.REBUILD for problem in problems):
                left = "holds no voices: is the volume mounted? The indexes stay"
                repairs.left.append(("embeddings", left))
            return repairs
        if any(problem.file in (CATALOG, MAPPING) for problem in problems):
            repairs.moved += _copy_indexes(folders)
        _rebuild(folders)
    return repairs


def _is_fresh(stamp: Stamp | None) -> bool:
    """Whether a program that writes in place may still be at it."""
    return stamp is not None and abs(time.time() - stamp.mtime_ns / 1e9) < SETTLED_AFTER_S


def _check_folders(root: Path) -> Iterator[Problem]:
    for folder in FOLDERS:
        path = root / folder
        if path.is_symlink():
            says = "is a link, which is not followed; put the folder itself in its place"
            yield Problem(folder, "", says, Remedy.BY_HAND)
        elif path.exists() and not path.is_dir():
            yield Problem(folder, "", "is no folder; put a folder in its place", Remedy.BY_HAND)


def _check_voice(reader: StoreReader, voice_id: str) -> Verdict:
    """Decodes all of a voice."""
    voices = reader.folders.voices
    problem = functools.partial(Problem, "embeddings", voices.file_name(voice_id))
    named = f' (voice "{reader.metadata(voice_id)["speaker_name"]}")' * (voice_id in reader.library.voices)
    try:
        stamp = voices.stamp(voice_id)
        return Verdict(voice_id, voices.load(voice_id).waveform.duration_s)
    except FileNotFoundError:  # removed meanwhile
        return Verdict(voice_id, None)
    except OSError as fault:
        says = f"cannot be opened: {(fault.strerror or 'unknown error').lower()}"
        return Verdict(voice_id, None, problem(says + named, Remedy.BY_HAND))
    except StoreCorrupt as fault:
        says = f"cannot be read: {fault.__cause__}" if str(fault.__cause__) else "is too large for a voice"
        if _is_fresh(stamp):
            says += "; it has just been written to, and may not be complete yet"
        return Verdict(voice_id, None, problem(says + named, Remedy.QUARANTINE, stamp))


def _check_what_is_no_file(voices: VoiceFiles) -> Iterator[Problem]:
    """What has the name of a voice's file and is none."""
    files = set(voices.folder.names())
    for name in set(voices.folder.names(of_all=True)) - files:
        stamp = voices.folder.stamp_of(name)
        if stamp and name.endswith(_VOICE_SUFFIX) and is_voice_id(name.removesuffix(_VOICE_SUFFIX)):
            says = "is a link, a pipe or a folder, not a file"
            yield Problem("embeddings", name, says, Remedy.QUARANTINE, stamp)


def _check_indexes_twice(root: Path, sleep: Callable[[float], None]) -> list[Problem]:
    """A worker that is busy with the store leaves its indexes behind for a moment, which is no problem."""
    problems = list(_check_indexes(StoreReader(root)))
    files = map(Folder(root, may_be_link=True).stamp_of, (*INDEXES, "embeddings", "revisions", "deleted"))
    if problems and any(map(_is_fresh, files)):
        sleep(SETTLED_AFTER_S / 2)
        again = {*_check_indexes(StoreReader(root))}
        problems = [problem for problem in problems if problem in again]
    return problems


def _check_indexes(reader: StoreReader) -> Iterator[Problem]:
    """Catalog, mapping, stats and metadata, and what lies beside voices that are not there."""
    root = reader.folders.root
    for name, (there, wanted) in reader.indexes.compare(reader.listing, reader.library).items():
        if is_damaged(root, name, MAX_INDEX_BYTES):
            yield Problem("", name, _NO_JSON, Remedy.QUARANTINE, root.stamp_of(name))
        elif reader.voice_ids and not root.has(name):
            yield Problem("", name, "is missing", Remedy.REBUILD)
        elif there != wanted and root.has(name):
            for says in _DIFFERENCES[name](reader, there, wanted):
                yield Problem("", name, says, Remedy.REBUILD)
    metadata = reader.folders.metadata.folder
    if metadata.path.is_symlink() or metadata.path.is_file():  # which is a problem of its own
        return
    for voice_id in reader.library.voices:
        name = f"{voice_id}.json"
        if not metadata.has(name):
            yield Problem("metadata", name, "is missing", Remedy.REBUILD)
        elif is_damaged(metadata, name, MAX_JSON_BYTES):
            yield Problem("metadata", name, _NO_JSON, Remedy.QUARANTINE, metadata.stamp_of(name))
    for sidecars in reader.folders.sidecars:
        deleted = {match[0] for match in sidecars.matches() if match[1] in reader.listing.deleted}
        for name in reader.folders.traces(reader.listing, sidecars):
            says = f"is about a voice that {'was deleted' if name in deleted else 'is not there'}"
            yield Problem(sidecars.folder.path.name, name, says, Remedy.TIDY)


def _compare_catalogs(reader: StoreReader, there: JsonObject, wanted: JsonObject) -> Iterator[str]:
    for voice_id in sorted(wanted.keys() - there.keys()):
        yield f'voice {voice_id}, "{reader.metadata(voice_id)["speaker_name"]}", is missing'
    for voice_id in sorted(there.keys() - wanted.keys()):
        yield f"voice {voice_id} is listed and is not there"
    for voice_id in sorted(there.keys() & wanted.keys()):
        if there[voice_id] != wanted[voice_id]:
            yield f"what it says about voice {voice_id} is out of date or incomplete"


def _compare_mappings(reader: StoreReader, there: JsonObject, wanted: JsonObject) -> Iterator[str]:
    for name in sorted(wanted.keys() - there.keys()):
        yield f'the name "{name}" of voice {wanted[name]} is missing'
    for name in sorted(there.keys() - wanted.keys()):
        yield f'the name "{name}" leads to voice {there[name]}, which is not there or has another name now'
    for name in sorted(there.keys() & wanted.keys()):
        if there[name] != wanted[name]:
            yield f'the name "{name}" leads to voice {there[name]} instead of {wanted[name]}'


def _compare_stats(reader: StoreReader, there: JsonObject, wanted: JsonObject) -> Iterator[str]:
    counted = there.get("total_voices")
    yield f"it counts {counted} voices, or other genders than the {wanted['total_voices']} have"


_DIFFERENCES = {CATALOG: _compare_catalogs, MAPPING: _compare_mappings, STATS: _compare_stats}


def _check_changes(reader: StoreReader) -> Iterator[Problem]:
    """Revisions, notes about deletions, and what writers that died have left."""
    folders, listing = reader.folders, reader.listing
    there = {*listing.voice_ids}
    revisions, notes = folders.revisions.folder, folders.deletions.folder
    for voice_id, number in folders.revisions.latest().items():
        name = f"{voice_id}.{number}.json"
        if voice_id in there and is_damaged(revisions, name, MAX_JSON_BYTES):
            says = f"is damaged: what was changed about voice {voice_id} last may be lost"
            yield Problem("revisions", name, says, Remedy.QUARANTINE, revisions.stamp_of(name))
    for voice_id in sorted(listing.replaced):
        says = "the voice was deleted or replaced, and its file is still there"
        yield Problem("embeddings", f"{voice_id}{_VOICE_SUFFIX}", says, Remedy.TIDY)
    for name in notes.names():
        if name.endswith(".json") and is_damaged(notes, name, MAX_NOTE_BYTES):
            says = "is damaged: which voice was deleted cannot be told"
            yield Problem("deleted", name, says, Remedy.QUARANTINE, notes.stamp_of(name))
    for note in folders.deletions.list()[0]:
        if notes.is_older(note.file_name, LEFTOVER_AFTER_S) and not note.hides(folders.voices.folder):
            says = "was left by a writer that died before it was done"
            yield Problem("deleted", note.file_name, says, Remedy.TIDY)
    for folder in folders.all():
        if not folder.path.is_symlink() and folder.path.is_dir():
            name_of_folder = "" if folder is folders.root else folder.path.name
            for name in folder.leftovers(LEFTOVER_AFTER_S):
                says = "is the temporary file of a writer that died"
                yield Problem(name_of_folder, name, says, Remedy.TIDY)


def _find_namesakes(reader: StoreReader) -> Iterator[str]:
    ids_by_name: dict[str, list[str]] = defaultdict(list)
    for voice_id, metadata in reader.library.voices.items():
        ids_by_name[fold_name(metadata["speaker_name"])].append(voice_id)
    for *others, latest in ids_by_name.values():  # as the library has them: the one that has the name last
        if others:
            name = readable(reader.library.voices[latest]["speaker_name"])
            yield (
                f'{len(others) + 1} voices are named "{name}": the name means {latest}; '
                f"{', '.join(others)} can be had by id"
            )


def _reason_to_wait(root: Path, problem: Problem) -> str | None:
    stamp = Folder(root / problem.folder, may_be_link=not problem.folder).stamp_of(problem.name)
    if stamp != problem.stamp:
        return "has changed meanwhile; check again"
    if _is_fresh(stamp):
        return "has just been written to, and may not be complete yet; repair again in a few seconds"
    return None


def _quarantine(folders: StoreFolders, before: StoreReader, problem: Problem) -> str:
    """Moves a file away; returns where to, from the store's folder. before: as it was before all repairs."""
    about: JsonObject = {"file": problem.file, "problem": problem.says, "moved_at": now()}
    voice_id = problem.name.removesuffix(_VOICE_SUFFIX)
    is_voice = problem.folder == "embeddings"
    if is_voice and (known := folders.metadata.read(voice_id) | before.indexes.entry(voice_id)):
        about["voice"] = known
    target, place = _reserve(folders, problem.folder, problem.name, about)
    Folder(folders.root.path / problem.folder, may_be_link=not problem.folder).move(
        problem.name, target, place
    )
    if is_voice:  # all that they say is in the JSON file; a voice that gets this id is another one
        folders.revisions.forget({voice_id})
    return f"{QUARANTINE}/{place}"


def _copy_indexes(folders: StoreFolders) -> Iterator[tuple[str, str]]:
    """Keeps what catalog and mapping say, since entries of voices that are gone are about to go."""
    for name in (CATALOG, MAPPING):
        if content := read_object(folders.root, name, MAX_INDEX_BYTES):
            target, place = _reserve(folders, "", name, {"file": name, "copied_at": now()})
            target.replace(place, to_json(content))
            yield f"a copy of {name}", f"{QUARANTINE}/{place}"


def _rebuild(folders: StoreFolders) -> None:
    """Makes indexes and metadata as the voices say; removes what writers that died have left."""
    library = LiveLibrary(folders, Timing(settle_s=0))
    for voice_id in library.write().voices:
        if not folders.metadata.folder.has(f"{voice_id}.json"):
            folders.describe(voice_id, library.indexes.entry(voice_id))


def _reserve(folders: StoreFolders, folder: str, name: str, about: JsonObject) -> tuple[Folder, str]:
    """The quarantine and a name in it that nothing has; the JSON file beside it takes it."""
    quarantine = Folder(folders.root.path / QUARANTINE)
    quarantine.make()
    prefix = "" if folder in ("", "embeddings") else f"{folder}."
    for number in itertools.count(1):
        place = f"{prefix}{name}" + (f".{number}" if number > 1 else "")
        if not quarantine.has(place) and quarantine.create(f"{place}.about.json", to_json(about)):
            return quarantine, place
    raise AssertionError("the numbers do not end")
