"""Reads all of a store, and says what is wrong with it. Nothing there is changed."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import StoreCorrupt, StoreUnavailable
from voice_store.embeddings import Embeddings, is_voice_id
from voice_store.files import Folder, Stamp, volume_faults
from voice_store.health.indexes import check_indexes, index_files, is_damaged_json
from voice_store.health.problems import (
    DELETED,
    EMBEDDINGS,
    FOLDERS,
    METADATA,
    REVISIONS,
    VOICE_SUFFIX,
    Problem,
    Remedy,
    Report,
)
from voice_store.housekeeping import LEFTOVER_AFTER_S
from voice_store.library import Library
from voice_store.names import fold_name, readable
from voice_store.parallel import map_in_threads
from voice_store.plain_files import reason
from voice_store.pronunciations import FILE_NAME as PRONUNCIATIONS
from voice_store.pronunciations import PronunciationsFile
from voice_store.reader import ReadOnlyFolder, StoreReader
from voice_store.revisions import MAX_REVISION_BYTES
from voice_store.tombstones import MAX_TOMBSTONE_BYTES

SETTLED_AFTER_S = 5.0  # a file that was written to this long ago is not being written any more


@dataclass(frozen=True)
class Verdict:
    """About the file of one voice. duration_s: None unless it is sound."""

    voice_id: str
    duration_s: float | None
    problem: Problem | None = None


Watch = Callable[[Iterator[Verdict], int], Iterable[Verdict]]


def check(
    root: Path,
    *,
    jobs: int = 1,
    watch: Watch = lambda verdicts, total: verdicts,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """What is wrong with the store at ``root``.

    jobs: how many threads decode voices. watch: is given the verdicts on the voices, as they come, and how
    many there will be; passes them on. Raises StoreUnavailable where no store can be read.
    """
    if not root.is_dir():
        raise StoreUnavailable("there is no such store", hint="name its folder")
    with volume_faults("checking the store"):
        problems = _check_folders(root)
        if any(problem.folder != METADATA for problem in problems):
            return Report(tuple(problems))
        reader = StoreReader(root)
        problems += _check_embeddings_folder(reader)
        problems += _check_indexes_twice(root, sleep)
        voice_ids = reader.listing.voice_ids
        look = functools.partial(check_voice, root)
        verdicts = list(watch(map_in_threads(look, voice_ids, jobs), len(voice_ids)))
        problems += [
            _with_name(verdict.problem, reader.library.voices.get(verdict.voice_id))
            for verdict in verdicts
            if verdict.problem is not None
        ]
        problems += _check_revisions(reader)
        problems += _check_deletions(reader)
        problems += _find_leftovers(root)
        problems += [
            Problem("", PRONUNCIATIONS, says, Remedy.BY_HAND)
            for says in PronunciationsFile(reader.folder).read().warnings
        ]
        durations_s = [verdict.duration_s for verdict in verdicts if verdict.duration_s is not None]
        return Report(
            tuple(sorted(problems, key=lambda problem: problem.file)),
            tuple(_find_namesakes(reader.library)),
            len(voice_ids),
            len(durations_s),
            sum(durations_s),
        )


def check_voice(root: Path, voice_id: str) -> Verdict:
    """Decodes all of a voice."""
    embeddings = Embeddings(ReadOnlyFolder(root / EMBEDDINGS))
    problem = functools.partial(Problem, EMBEDDINGS, embeddings.file_name(voice_id))
    try:
        stamp = embeddings.stamp(voice_id)
        return Verdict(voice_id, embeddings.load(voice_id).waveform.duration_s)
    except FileNotFoundError:  # removed meanwhile
        return Verdict(voice_id, None)
    except OSError as fault:
        return Verdict(voice_id, None, problem(f"cannot be opened: {reason(fault)}", Remedy.BY_HAND))
    except StoreCorrupt as fault:
        says = f"cannot be read: {fault.__cause__}" if str(fault.__cause__) else "is too large for a voice"
        if is_fresh(stamp):
            says += "; it has just been written to, and may not be complete yet"
        return Verdict(voice_id, None, problem(says, Remedy.QUARANTINE, stamp))


def _with_name(problem: Problem, metadata: Mapping[str, Any] | None) -> Problem:
    if metadata is None:
        return problem
    return dataclasses.replace(problem, says=f'{problem.says} (voice "{metadata["speaker_name"]}")')


def is_fresh(stamp: Stamp | None) -> bool:
    """Whether a program that writes in place may still be at it."""
    return stamp is not None and abs(time.time() - stamp.mtime_ns / 1e9) < SETTLED_AFTER_S


def _check_folders(root: Path) -> list[Problem]:
    problems = []
    for folder in FOLDERS:
        path = root / folder
        if path.is_symlink():
            says = "is a link, which is not followed; put the folder itself in its place"
        elif path.exists() and not path.is_dir():
            says = "is no folder; put a folder in its place"
        else:
            continue
        problems.append(Problem(folder, "", says, Remedy.BY_HAND))
    return problems


def _check_embeddings_folder(reader: StoreReader) -> list[Problem]:
    """What has the name of a voice's file and is none."""
    embeddings = reader.voices.embeddings
    files = set(embeddings.folder.names())
    problems = []
    for name in embeddings.folder.names(of_all=True):
        voice_id = name.removesuffix(VOICE_SUFFIX)
        if name in files or not name.endswith(VOICE_SUFFIX) or not is_voice_id(voice_id):
            continue
        stamp = embeddings.stamp(voice_id)
        if stamp is not None:
            problems.append(
                Problem(
                    EMBEDDINGS, name, "is a link, a pipe or a folder, not a file", Remedy.QUARANTINE, stamp
                )
            )
    return problems


def _check_indexes_twice(root: Path, sleep: Callable[[float], None]) -> list[Problem]:
    """A worker that is busy with the store leaves its indexes behind for a moment, which is no problem."""
    problems = check_indexes(StoreReader(root))
    if problems and any(map(is_fresh, index_files(root))):
        sleep(SETTLED_AFTER_S / 2)
        again = check_indexes(StoreReader(root))
        problems = [problem for problem in problems if problem in again]
    return problems


def _check_revisions(reader: StoreReader) -> list[Problem]:
    folder = reader.voices.revisions.folder
    problems = []
    for voice_id, number in reader.voices.revisions.latest().items():
        name = f"{voice_id}.{number}.json"
        if voice_id not in reader.listing.voice_ids:
            is_told = voice_id in reader.listing.deleted  # with the deletion, or what is left of it
            if not is_told and folder.is_older(name, LEFTOVER_AFTER_S):
                problems.append(Problem(REVISIONS, name, "is about a voice that is not there", Remedy.TIDY))
        elif is_damaged_json(folder, name, MAX_REVISION_BYTES):
            says = f"is damaged: what was changed about voice {voice_id} last may be lost"
            problems.append(Problem(REVISIONS, name, says, Remedy.QUARANTINE, folder.stamp_of(name)))
    return problems


def _check_deletions(reader: StoreReader) -> list[Problem]:
    tombstones, folder = reader.voices.tombstones, reader.voices.tombstones.folder
    problems = [
        Problem(
            EMBEDDINGS,
            f"{voice_id}{VOICE_SUFFIX}",
            "the voice was deleted or replaced, and its file is still there",
            Remedy.TIDY,
        )
        for voice_id in sorted(reader.listing.hidden)
    ]
    for name in folder.names():
        if name.endswith(".json") and is_damaged_json(folder, name, MAX_TOMBSTONE_BYTES):
            says = "is damaged: which voice was deleted cannot be told"
            problems.append(Problem(DELETED, name, says, Remedy.QUARANTINE, folder.stamp_of(name)))
    pending, _ = tombstones.list()
    stale = (item for item in pending if not item.hides(reader.voices.embeddings.stamp))
    for tombstone in stale:
        if folder.is_older(tombstone.file_name, LEFTOVER_AFTER_S):
            says = "was left by a writer that died before it was done"
            problems.append(Problem(DELETED, tombstone.file_name, says, Remedy.TIDY))
    return problems


def _find_leftovers(root: Path) -> Iterator[Problem]:
    says = "is the temporary file of a writer that died"
    for folder in ("", *FOLDERS):
        path = root / folder
        if not folder or (path.is_dir() and not path.is_symlink()):
            for name in sorted(Folder(path, may_be_link=not folder).leftovers(LEFTOVER_AFTER_S)):
                yield Problem(folder, name, says, Remedy.TIDY)


def _find_namesakes(library: Library) -> Iterator[str]:
    ids_by_name: dict[str, list[str]] = defaultdict(list)
    for voice_id, metadata in library.voices.items():
        ids_by_name[fold_name(metadata["speaker_name"])].append(voice_id)
    for voice_ids in ids_by_name.values():
        if len(voice_ids) > 1:
            *others, latest = voice_ids  # as the library has them: the one that has the name last
            name = readable(library.voices[latest]["speaker_name"])
            yield (
                f'{len(voice_ids)} voices are named "{name}": the name means {latest}; '
                f"{', '.join(others)} can be had by id"
            )
