"""Says what is wrong with a store, and mends it: ``check`` changes nothing, ``repair`` loses nothing.

quarantine/<file>               what was damaged, as it lay there
quarantine/<file>.about.json    where it lay, what was wrong with it and what was known about the voice
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from errors import StoreCorrupt
from voice_store.deletions import MAX_NOTE_BYTES
from voice_store.files import Folder, Stamp, volume_faults
from voice_store.folders import LEFTOVER_AFTER_S, StoreFolders
from voice_store.indexes import CATALOG, INDEXES, MAPPING, MAX_INDEX_BYTES
from voice_store.json_files import JsonObject, is_damaged, read_object, to_json
from voice_store.live import LiveLibrary, Timing
from voice_store.metadata import embedding_file, now
from voice_store.names import fold_name, is_voice_id, readable
from voice_store.pronunciations import FILE_NAME as PRONUNCIATIONS
from voice_store.pronunciations import PronunciationsFile
from voice_store.reader import StoreReader
from voice_store.sidecars import MAX_JSON_BYTES

QUARANTINE = "quarantine"
SETTLED_AFTER_S = 5.0  # a file that was written to this long ago is not being written any more
_SHOWN = 3  # ids or names of all that a problem is about
_FRESH = "has just changed, and may not be complete yet: check again in a few seconds"


class Problem(NamedTuple):
    """What is wrong with a file or a folder."""

    file: str  # its path, from the store's folder
    says: str  # the predicate of a sentence about it, which ends with ``about``
    stamp: Stamp | None = None  # of a file that is damaged, as it was looked at: it is put into quarantine
    is_by_hand: bool = False  # only a person can mend it; all else follows from the voices' files
    about: tuple[str, ...] = ()  # ids or names in an index

    def __str__(self) -> str:
        shown = ", ".join(map(readable, self.about[:_SHOWN]))
        more = f" and {len(self.about) - _SHOWN} more" if len(self.about) > _SHOWN else ""
        return f"{self.file}: {self.says} {shown}{more}".rstrip()


class Report(NamedTuple):
    """What ``check`` has found."""

    problems: tuple[Problem, ...]  # in the order of the files
    notes: tuple[str, ...] = ()  # sentences about what is unusual, but no damage
    voices: int = 0  # how many there are, damaged ones too
    sound_voices: int = 0
    audio_s: float = 0.0  # of all sound voices together


class Repairs(NamedTuple):
    """What ``repair`` has done."""

    moved: list[tuple[str, str]]  # files, and where they are now
    left: list[tuple[str, str]]  # files that are as they were, and why


def check(
    root: Path,
    *,
    jobs: int = 1,
    watch: Callable[[Iterator[Any], int], Iterable[Any]] = lambda results, total: results,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Returns what is wrong with the store at ``root``.

    jobs: how many threads decode voices. watch: gets an iterator with one item a voice, and how many there
    are; returns it. Raises StoreUnavailable where no store can be read.
    """
    with volume_faults("checking the store"):
        if links := tuple(_check_folders(root)):
            return Report(links)
        reader = StoreReader(root)
        found = _check_files(reader)
        changing = (*INDEXES, "embeddings", "revisions", "deleted")
        if found and any(_is_fresh(reader.folders.root.stamp_of(name)) for name in changing):
            # A worker that is busy leaves its indexes behind for a moment, which is no problem.
            sleep(SETTLED_AFTER_S / 2)
            reader = StoreReader(root)
            found &= _check_files(reader)
        with ThreadPoolExecutor(jobs) as threads:
            results = threads.map(functools.partial(_check_voice, reader), reader.voice_ids)
            seen = list(watch(results, len(reader.voice_ids)))
        warnings = PronunciationsFile(reader.folders.root).read().warnings
    about: dict[Problem, list[str]] = defaultdict(list)
    for problem in found:
        about[problem._replace(about=())] += problem.about
    problems = [problem._replace(about=tuple(sorted(subjects))) for problem, subjects in about.items()]
    problems += [result for result in seen if isinstance(result, Problem)]
    problems += [Problem(PRONUNCIATIONS, says, is_by_hand=True) for says in warnings]
    durations_s = [result for result in seen if isinstance(result, float)]
    notes = tuple(_find_namesakes(reader))
    return Report(tuple(sorted(problems, key=str)), notes, len(seen), len(durations_s), sum(durations_s))


def repair(root: Path, problems: Sequence[Problem]) -> Repairs:
    """Does what can be done about the problems that ``check`` has found. Raises StoreUnavailable.

    A file that has changed since, or a moment before, stays: an older program may be writing it.
    """
    moved, left = repairs = Repairs([], [(each.file, each.says) for each in problems if each.is_by_hand])
    if len(left) == len(problems):
        return repairs
    with volume_faults("repairing the store"):
        before, folders = StoreReader(root), StoreFolders(root)
        for problem in problems:
            if problem.stamp is not None:
                place = _quarantine(folders, before, problem)
                (moved if place else left).append((problem.file, place or _FRESH))
        if {file for file, _ in left}.intersection(INDEXES):
            return repairs  # a rebuild would exchange it
        files, listing = {problem.file for problem in problems}, folders.list()
        if not (listing.voice_ids or listing.deleted or moved):
            folders.sweep(listing)
            if files.intersection(INDEXES):
                left.append(("embeddings", "holds no voices: is the volume mounted? The indexes stay"))
            return repairs
        for name in files.intersection((CATALOG, MAPPING)):  # entries of voices that are gone are about to go
            if content := read_object(folders.root, name, MAX_INDEX_BYTES):
                quarantine, place = _reserve(root, name, {"file": name, "copied_at": now()})
                quarantine.replace(place, to_json(content))
                moved.append((f"a copy of {name}", f"{QUARANTINE}/{place}"))
        library = LiveLibrary(folders, Timing(settle_s=0))
        for voice_id in library.write().voices:
            if not folders.metadata.folder.has(f"{voice_id}.json"):
                folders.describe(voice_id, library.indexes.entry(voice_id))
    return repairs


def _check_folders(root: Path) -> Iterator[Problem]:
    for folder in StoreFolders(root).all()[1:]:
        is_link = folder.path.is_symlink()
        if is_link or (folder.path.exists() and not folder.path.is_dir()):
            what = "a link, which is not followed" if is_link else "no folder"
            says = f"is {what}; put the folder itself in its place, then check again"
            yield Problem(folder.path.name, says, is_by_hand=True)


def _check_voice(reader: StoreReader, voice_id: str) -> float | Problem | None:
    """Decodes all of a voice. Returns its length in seconds, or what is wrong; None if it has just gone."""
    voices, known = reader.folders.voices, reader.library.voices.get(voice_id)
    named = f' (voice "{known["speaker_name"]}")' if known else ""
    try:
        stamp = voices.stamp(voice_id)
        return voices.load(voice_id).waveform.duration_s
    except FileNotFoundError:
        return None
    except OSError as fault:
        says = f"cannot be opened: {(fault.strerror or 'unknown error').lower()}{named}"
        return Problem(embedding_file(voice_id), says, is_by_hand=True)
    except StoreCorrupt as fault:
        says = f"cannot be read: {fault.__cause__}" if str(fault.__cause__) else "is too large for a voice"
        says += f"; it {_FRESH}" if _is_fresh(stamp) else ""
        return Problem(embedding_file(voice_id), says + named, stamp)


def _check_files(reader: StoreReader) -> set[Problem]:
    """What is wrong besides recordings."""
    return {*_compare_indexes(reader), *_find_damage(reader), *_find_leftovers(reader)}


def _compare_indexes(reader: StoreReader) -> Iterator[Problem]:
    """A problem for each id or name of which an index says something else than the voices do."""
    root, described = reader.folders.root, {*reader.folders.metadata.folder.names(of_all=True)}
    for name, (content, wanted) in reader.indexes.compare(reader.listing, reader.library).items():
        if reader.voice_ids and not root.has(name):
            yield Problem(name, "is missing")
        elif content != wanted and root.has(name) and not is_damaged(root, name, MAX_INDEX_BYTES):
            for key in content.keys() | wanted.keys():
                if key not in wanted:
                    yield Problem(name, "lists what is not there:", about=(key,))
                elif content.get(key) != wanted[key]:
                    yield Problem(name, "is out of date about" if key in content else "lacks", about=(key,))
    for voice_id in reader.library.voices:
        if f"{voice_id}.json" not in described:
            yield Problem("metadata", "lacks the file of", about=(voice_id,))


def _find_damage(reader: StoreReader) -> Iterator[Problem]:
    folders, there = reader.folders, {*reader.voice_ids}
    voices, notes = folders.voices.folder, folders.deletions.folder
    json_files = [(folders.root, name, MAX_INDEX_BYTES) for name in INDEXES]
    json_files += [(notes, name, MAX_NOTE_BYTES) for name in notes.names() if name.endswith(".json")]
    for sidecars in (folders.metadata, folders.revisions):
        names = (match[0] for match in sidecars.matches() if match[1] in there)
        json_files += [(sidecars.folder, name, MAX_JSON_BYTES) for name in names]
    for folder, name, max_bytes in json_files:
        stamp = folder.stamp_of(name)
        if stamp and is_damaged(folder, name, max_bytes):
            yield Problem(_path(reader, folder, name), "is damaged: it is no JSON file", stamp)
    for name in {*voices.names(of_all=True)}.difference(voices.names()):
        if name.endswith(".pkl.gz") and is_voice_id(name.removesuffix(".pkl.gz")):
            says = "is a link, a pipe or a folder, not a file"
            yield Problem(f"embeddings/{name}", says, voices.stamp_of(name))


def _find_leftovers(reader: StoreReader) -> Iterator[Problem]:
    """What writers that died have left."""
    folders = reader.folders
    for voice_id in reader.listing.replaced:
        says = "the voice was deleted or replaced, and its file is still there"
        yield Problem(embedding_file(voice_id), says)
    for sidecars in folders.sidecars:
        for name in folders.traces(reader.listing, sidecars):
            yield Problem(_path(reader, sidecars.folder, name), "is about a voice that is not there")
    for note in folders.deletions.list()[0]:
        is_old = folders.deletions.folder.is_older(note.file_name, LEFTOVER_AFTER_S)
        if is_old and not folders.is_hidden_by(note):
            yield Problem(f"deleted/{note.file_name}", "was left by a writer that died before it was done")
    for folder in folders.all():
        for name in folder.leftovers(LEFTOVER_AFTER_S):
            yield Problem(_path(reader, folder, name), "is the temporary file of a writer that died")


def _find_namesakes(reader: StoreReader) -> Iterator[str]:
    ids_by_name: dict[str, list[str]] = defaultdict(list)
    for voice_id, metadata in reader.library.voices.items():
        ids_by_name[fold_name(metadata["speaker_name"])].append(voice_id)
    for *others, latest in ids_by_name.values():  # as the library has them: the one that has the name last
        if others:
            name, ids = readable(reader.library.voices[latest]["speaker_name"]), ", ".join(others)
            count = len(others) + 1
            yield f'{count} voices are named "{name}": the name means {latest}; {ids} can be had by id'


def _quarantine(folders: StoreFolders, before: StoreReader, problem: Problem) -> str:
    """Moves a file away. Returns where to, or "" when it may still be written to, and stays.

    before: the store as it was before all repairs.
    """
    folder_name, _, name = problem.file.rpartition("/")
    source = Folder(folders.root.path / folder_name, may_be_link=not folder_name)
    if source.stamp_of(name) != problem.stamp or _is_fresh(problem.stamp):
        return ""
    about: JsonObject = {"file": problem.file, "problem": problem.says, "moved_at": now()}
    is_voice, voice_id = folder_name == "embeddings", name.removesuffix(".pkl.gz")
    if is_voice and (known := folders.metadata.read(voice_id) | before.indexes.entry(voice_id)):
        about["voice"] = known
    place_name = name if is_voice else problem.file.replace("/", ".")
    quarantine, place = _reserve(folders.root.path, place_name, about)
    source.move(name, quarantine, place)
    if is_voice:  # all that they say is in the JSON file; a voice that gets this id is another one
        folders.revisions.forget({voice_id})
    return f"{QUARANTINE}/{place}"


def _reserve(root: Path, name: str, about: JsonObject) -> tuple[Folder, str]:
    """The quarantine and a name in it that nothing has; the JSON file beside it takes it."""
    quarantine, place, number = Folder(root / QUARANTINE), name, 1
    quarantine.make()
    while quarantine.has(place) or not quarantine.create(f"{place}.about.json", to_json(about)):
        number += 1
        place = f"{name}.{number}"
    return quarantine, place


def _is_fresh(stamp: Stamp | None) -> bool:
    """Whether a program that writes in place may still be at it."""
    return stamp is not None and abs(time.time() - stamp.mtime_ns / 1e9) < SETTLED_AFTER_S


def _path(reader: StoreReader, folder: Folder, name: str) -> str:
    """A file's path from the store's folder."""
    return str((folder.path / name).relative_to(reader.folders.root.path))
