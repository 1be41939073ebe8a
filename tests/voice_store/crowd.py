"""What is lost when many workers, and older programs, write to one store at once.

Each function starts processes that begin together, and returns a row: what was acknowledged and is not found
by a worker that starts afterwards counts as lost.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import multiprocessing
import os
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from unittest.mock import patch

from errors import VoiceExists, VoiceNotFound
from tests.voice_store.conftest import make_waveform, read_json
from tests.voice_store.faults import AT_ONCE, Row, drop_indexes
from tests.voice_store.interference import interfering, killing
from voice_store import VoiceStore, writing

WORKERS = 8
CLONES = 25

_fork = multiprocessing.get_context("fork")


def together(work: Callable[..., Any], workers: int, *arguments: Any) -> list[Any]:
    """What ``work(number, *arguments)`` returns in as many processes, which begin at the same time."""
    start, answers = _fork.Barrier(workers), _fork.SimpleQueue()

    def run(number: int, barrier: Barrier) -> None:
        barrier.wait()
        answers.put((number, work(number, *arguments)))

    processes = [_fork.Process(target=run, args=(number, start)) for number in range(workers)]
    for process in processes:
        process.start()
    gathered = dict(answers.get() for _ in processes)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return [gathered[number] for number in range(workers)]


def clone_many(
    number: int, root: Path, has_locks: bool = True, has_links: bool = True
) -> list[tuple[str, str]]:
    """Puts CLONES voices; the names and ids that were acknowledged."""
    if not has_locks:
        fcntl.flock = _refuse_locks
    if not has_links:
        os.link = _refuse_links
    store = VoiceStore(root)
    kept = []
    for clone in range(CLONES):
        seed = 1 + number * CLONES + clone
        voice = store.put(make_waveform(seed), f"voice {seed}", description=f"of {number}").voice
        kept.append((voice.name, voice.voice_id))
    return kept


def clone_plainly(number: int, root: Path, _: bool = True) -> list[tuple[str, str]]:
    """As programs do that have gzip, pickle and json, and no thought for others."""
    kept = []
    for clone in range(CLONES):
        seed = 1 + number * CLONES + clone
        voice_id, name = f"{seed:08x}", f"voice {seed}"
        content = {"audio": make_waveform(seed).samples, "sample_rate": 24_000, "voice_name": name}
        entry = {"voice_id": voice_id, "speaker_name": name, "duration": 0.25, "theirs": seed}
        with gzip.open(root / "embeddings" / f"{voice_id}.pkl.gz", "wb") as file:
            pickle.dump(content, file, 4)
        for index, member in (
            ("voice_catalog.json", {voice_id: entry}),
            ("name_mapping.json", {name: voice_id}),
        ):
            try:
                there = json.loads((root / index).read_text())
            except (FileNotFoundError, ValueError):
                there = {}
            (root / index).write_text(json.dumps(there | member))
        kept.append((name, voice_id))
    return kept


def clone_at_once(folder: Path, *, has_locks: bool = True, has_links: bool = True) -> Row:
    root = folder / "store"
    kept = list(chain.from_iterable(together(clone_many, WORKERS, root, has_locks, has_links)))
    without = "".join(
        f", without {what}" for what, is_there in (("locks", has_locks), ("links", has_links)) if not is_there
    )
    what = f"{WORKERS} workers clone {CLONES} voices each{without}"
    return Row(what, WORKERS * CLONES, len(kept), _missing(root, kept))


def clone_beside_old_programs(folder: Path) -> Row:
    root = folder / "store"
    (root / "embeddings").mkdir(parents=True)

    def clone(number: int) -> list[tuple[str, str]]:
        return clone_plainly(number, root) if number % 2 else clone_many(number, root)

    kept = list(chain.from_iterable(together(clone, WORKERS)))
    return Row(f"half of {WORKERS} are older programs", WORKERS * CLONES, len(kept), _missing(root, kept))


def clone_plainly_at_once(folder: Path) -> Row:
    """The plain way on its own, for comparison: how many voices its own indexes do not know afterwards."""
    root = folder / "store"
    (root / "embeddings").mkdir(parents=True)
    kept = list(chain.from_iterable(together(clone_plainly, WORKERS, root)))
    try:
        known = read_json(root / "name_mapping.json")
    except ValueError:
        known = {}
    return Row(
        f"the plain way: {WORKERS} programs, {CLONES} each", len(kept), len(kept), len(kept) - len(known)
    )


def clone_one_recording(folder: Path, *, has_links: bool = True) -> Row:
    """The same job delivered to all: one voice, which one of them has made."""
    root = folder / "store"

    def clone(number: int) -> tuple[str, bool]:
        if not has_links:
            os.link = _refuse_links
        result = VoiceStore(root).put(make_waveform(1), "Amy", gender="female")
        return result.voice.voice_id, result.created

    answers = together(clone, WORKERS)
    is_one = len({voice_id for voice_id, _ in answers}) == 1 == sum(created for _, created in answers)
    lost = _missing(root, [("Amy", voice_id) for voice_id, _ in answers])
    what = f"{WORKERS} workers get the same job{'' if has_links else ', on a volume without links'}"
    return Row(what, WORKERS, len(answers), lost + (not is_one))


def clone_under_one_name(folder: Path) -> Row:
    """Different recordings: all stay readable by id, and the name means one of them to everybody."""
    root = folder / "store"

    def try_to_clone(number: int) -> str | None:
        try:
            return VoiceStore(root).put(make_waveform(number), "Amy").voice.voice_id
        except VoiceExists:
            return None

    kept = [voice_id for voice_id in together(try_to_clone, WORKERS) if voice_id]
    winners = {VoiceStore(root, AT_ONCE).get(name="Amy").voice_id for _ in range(2)}
    drop_indexes(root)
    winners.add(VoiceStore(root, AT_ONCE).get(name="Amy").voice_id)
    store = VoiceStore(root, AT_ONCE)
    lost = sum(store.get(voice_id=voice_id).voice_id != voice_id for voice_id in kept) + len(winners) - 1
    return Row(f"{WORKERS} workers take one name", WORKERS, len(kept), lost)


def clone_into_taken_ids(folder: Path) -> Row:
    """Recordings whose hashes begin alike: all ids are tried in the same order by all."""
    root = folder / "store"

    def same_ids(digest: str) -> Iterator[str]:
        return (f"{number:08x}" for number in range(1_000))

    with patch.object(writing, "candidate_ids", same_ids):  # in the children too
        kept = list(chain.from_iterable(together(clone_many, WORKERS, root)))
    return Row("every recording wants the same ids", WORKERS * CLONES, len(kept), _missing(root, kept))


KILLED_WORKERS = 3
KILLED_CLONES = 12
CLONES_PER_DELETION = 3
STEPS_OF_CLONES = 800  # system calls that change the volume, of about KILLED_CLONES clones


@dataclass
class Told:
    """What the workers of one crowd were told by the store."""

    kept: dict[str, str] = field(default_factory=dict)  # name by id, of the clones that were acknowledged
    doomed: set[str] = field(default_factory=set)  # ids whose deletion was asked for
    deleted: set[str] = field(default_factory=set)  # ids whose deletion was acknowledged


def clone_beside_killed(
    folder: Path, *, rounds: int, has_locks: bool = True, deletes: bool = False, seed: int = 0
) -> Row:
    """Clones in WORKERS processes of which KILLED_WORKERS are killed at random, in a new store each round.

    What an older program reads afterwards counts: an acknowledged voice that catalog, mapping or metadata do
    not hold is lost, and so is a deletion of which something is left there. Where there are no locks, a
    worker that is killed in the middle of writing an index can leave it behind what others wrote before: the
    next worker that lists the voices mends it, so one does.
    """
    row = Row(
        f"{WORKERS} workers, {KILLED_WORKERS} killed, {rounds} times, to older programs"
        f"{', deleting' * deletes}{', without locks' * (not has_locks)}"
    )
    for number in range(rounds):
        root = folder / f"store {number}"
        told = _clone_beside_killed(root, has_locks, deletes, random.Random(f"{seed} {number}"))
        if not has_locks:
            VoiceStore(root, AT_ONCE).list()
        row.tried += WORKERS * KILLED_CLONES
        row.acknowledged += len(told.kept) + len(told.deleted)
        row.lost += len(unknown_to_older_programs(root, told)) + len(traces_of_deleted(root, told))
    return row


def unknown_to_older_programs(root: Path, told: Told) -> list[str]:
    """The ids of acknowledged voices that the indexes do not hold as they are read plainly."""
    catalog, mapping = read_json(root / "voice_catalog.json"), read_json(root / "name_mapping.json")

    def is_known(voice_id: str, name: str) -> bool:
        described = root / "metadata" / f"{voice_id}.json"
        return (
            catalog.get(voice_id, {}).get("speaker_name") == name
            and mapping.get(name) == voice_id
            and described.exists()
            and read_json(described).get("speaker_name") == name
        )

    return [
        voice_id
        for voice_id, name in told.kept.items()
        if voice_id not in told.doomed and not is_known(voice_id, name)
    ]


def traces_of_deleted(root: Path, told: Told) -> list[str]:
    """The ids of voices whose deletion was acknowledged and of which any file but the tombstone tells."""
    indexed = {*read_json(root / "voice_catalog.json"), *read_json(root / "name_mapping.json").values()}
    folders = ("embeddings", "metadata", "revisions", "conditionals")
    files = [path.name for folder in folders for path in (root / folder).glob("*")]
    return [
        voice_id
        for voice_id in told.deleted
        if voice_id in indexed or any(name.startswith(voice_id) for name in files)
    ]


def _clone_beside_killed(root: Path, has_locks: bool, deletes: bool, dice: random.Random) -> Told:
    steps = [
        dice.randrange(1, STEPS_OF_CLONES) if number < KILLED_WORKERS else 0 for number in range(WORKERS)
    ]
    start, go = os.pipe()
    started = []
    for number in range(WORKERS):
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(go)
            os.read(start, 1)  # until all have been started
            _clone_until_killed(number, root, has_locks, deletes, steps[number], writer)
        os.close(writer)
        started.append((process, reader))
    os.close(start)
    os.close(go)
    told = Told()
    for process, reader in started:
        with os.fdopen(reader) as pipe:
            said = [json.loads(line) for line in pipe]
        os.waitpid(process, 0)
        told.kept |= {voice_id: name for what, voice_id, name in said if what == "kept"}
        told.doomed |= {voice_id for what, voice_id, _ in said if what == "deleting"}
        told.deleted |= {voice_id for what, voice_id, _ in said if what == "deleted"}
    return told


def _clone_until_killed(
    number: int, root: Path, has_locks: bool, deletes: bool, step: int, writer: int
) -> None:
    """Never returns. step: at which the process is killed; 0 for never."""
    if not has_locks:
        fcntl.flock = _refuse_locks
    write, store, dice = os.write, VoiceStore(root), random.Random(number)

    def say(*said: str) -> None:
        write(writer, (json.dumps(said) + "\n").encode())

    with interfering(killing(step)):
        for clone in range(KILLED_CLONES):
            seed = 1 + number * KILLED_CLONES + clone
            voice = store.put(make_waveform(seed), f"voice {seed}", description=f"of {number}").voice
            say("kept", voice.voice_id, voice.name)
            if deletes and clone % CLONES_PER_DELETION == 0:
                victim = dice.choice(store.list())
                say("deleting", victim["voice_id"], victim["speaker_name"])
                with suppress(VoiceNotFound):  # another worker was quicker
                    store.delete(voice_id=victim["voice_id"])
                say("deleted", victim["voice_id"], victim["speaker_name"])
    os._exit(0)


DETAILS = ("description", "gender", "language", "tags", "default_parameters")
CHANGES = 20


def change_one_voice(folder: Path) -> Row:
    """Each changes another detail of the same voice, over and over: none undoes what another one changed."""
    root = folder / "store"
    VoiceStore(root).put(make_waveform(1), "Amy")

    def change(number: int) -> object:
        store, last = VoiceStore(root), None
        for turn in range(CHANGES):
            last = _detail(DETAILS[number], turn)
            store.update(name="Amy", **{DETAILS[number]: last})
        return last

    last = together(change, len(DETAILS))
    drop_indexes(root)
    metadata = VoiceStore(root, AT_ONCE).metadata(name="Amy")
    lost = sum(metadata[detail] != value for detail, value in zip(DETAILS, last, strict=True))
    return Row(
        f"{len(DETAILS)} workers change one voice", len(DETAILS) * CHANGES, len(DETAILS) * CHANGES, lost
    )


def _detail(detail: str, turn: int) -> object:
    return {"tags": [f"tag {turn}"], "default_parameters": {"exaggeration": turn}}.get(
        detail, f"{detail} {turn}"
    )


def _missing(root: Path, kept: list[tuple[str, str]]) -> int:
    """How many are not found by name and by id, or not by both when all indexes are gone."""

    def is_found(store: VoiceStore, name: str, voice_id: str) -> bool:
        listed = {voice["voice_id"]: voice["speaker_name"] for voice in store.list()}
        return listed.get(voice_id) == name and (
            store.get(name=name).digest == store.get(voice_id=voice_id).digest
        )

    store = VoiceStore(root, AT_ONCE)
    missing = {voice_id for name, voice_id in kept if not is_found(store, name, voice_id)}
    known = read_json(root / "name_mapping.json")
    missing |= {voice_id for name, voice_id in kept if known.get(name) != voice_id}
    drop_indexes(root)
    store = VoiceStore(root, AT_ONCE)
    return len(missing | {voice_id for name, voice_id in kept if not is_found(store, name, voice_id)})


def _refuse_links(*_: Any, **__: Any) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def _refuse_locks(*_: Any) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
