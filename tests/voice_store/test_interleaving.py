"""Two workers on one store, one of which does all of its change before a chosen step of the other's.

What counts is what an older program reads afterwards: catalog, mapping and metadata, plainly.
"""

import errno
import fcntl
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from errors import VoiceNotFound
from tests.voice_store.conftest import make_waveform, read_json
from tests.voice_store.crowd import Told, traces_of_deleted, unknown_to_older_programs
from tests.voice_store.faults import AT_ONCE
from tests.voice_store.interference import CrashError, counting, interfering, interleaving
from voice_store import VoiceStore
from voice_store.health import check, repair
from voice_store.indexes import LOCK_FILE
from voice_store.live import Timing

QUICK = {("put", "put"), ("put", "delete all")}  # the other pairs take minutes
STEPS_TO_DEATH = (2, 7)

quick_waveform = functools.partial(make_waveform, duration_s=0.01)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot have the lock goes on without it at once, instead of after two seconds.

    Nothing here depends on what is on the disk, so nothing waits for it either.
    """
    monkeypatch.setattr("voice_store.indexes._LOCK_TIMEOUT_S", 0)
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def _no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def put(name: str, seed: int, **options: object) -> Callable[[VoiceStore], str]:
    return lambda store: store.put(quick_waveform(seed), name, **options).voice.voice_id


def delete(name: str) -> Callable[[VoiceStore], None]:
    def forget(store: VoiceStore) -> None:
        with suppress(VoiceNotFound):
            store.delete(name=name)

    return forget


CHANGES = {
    "put": put("Cy", 3),
    "put, overwriting": put("Amy", 3, overwrite=True),
    "rename": lambda store: store.update(name="Amy", new_name="Zoë", description="lively"),
    "delete": delete("Amy"),
}
OTHERS = {
    "put": put("Dan", 4, description="calm"),
    "put, overwriting": put("Ben", 4, overwrite=True),
    "rename": lambda store: store.update(name="Ben", new_name="Bea"),
    "delete": delete("Ben"),
    "delete all": lambda store: [store.delete(voice_id=voice["voice_id"]) for voice in store.list()],
}


class Clock:
    """Stands still but for those who sleep."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def open_store(root: Path) -> VoiceStore:
    clock = Clock()
    return VoiceStore(root, Timing(2.0, lambda: clock.now_s, clock.sleep))


def prepare(root: Path) -> None:
    store = VoiceStore(root, AT_ONCE)
    for name, seed in (("Amy", 1), ("Ben", 2)):
        put(name, seed)(store)


def prepared(folder: Path) -> Iterator[tuple[int, Path]]:
    """Step by step, a copy of a store with two voices."""
    prepare(folder / "prepared")
    for step in range(1, 100_000):
        root = folder / str(step)
        shutil.copytree(folder / "prepared", root)
        yield step, root
        shutil.rmtree(root)


def steps_of(change: Callable[[VoiceStore], object], folder: Path) -> int:
    prepare(folder / "counted")
    note, seen = counting()
    with interfering(note):
        change(open_store(folder / "counted"))
    return len(seen)


def assert_as_the_files_say(root: Path) -> None:
    """Catalog, mapping and metadata hold the voices whose files are there, by their names, and no other."""
    there = {path.name.removesuffix(".pkl.gz") for path in (root / "embeddings").glob("*.pkl.gz")}
    catalog, mapping = read_json(root / "voice_catalog.json"), read_json(root / "name_mapping.json")
    metadata = {path.stem: read_json(path) for path in (root / "metadata").glob("*.json")}
    assert catalog.keys() == there == metadata.keys()
    names = {voice_id: entry["speaker_name"] for voice_id, entry in catalog.items()}
    assert mapping == {name: voice_id for voice_id, name in names.items()}
    assert {voice_id: entry["speaker_name"] for voice_id, entry in metadata.items()} == names
    assert read_json(root / "stats.json")["total_voices"] == len(there)


@pytest.mark.usefixtures("_no_locks")
@pytest.mark.parametrize(
    ("change", "other"),
    [
        pytest.param(change, other, marks=[] if (change, other) in QUICK else pytest.mark.slow)
        for change in CHANGES
        for other in OTHERS
    ],
)
def test_what_another_worker_does_before_any_step_stays_in_the_indexes(change, other, tmp_path):
    mine, theirs = CHANGES[change], OTHERS[other]
    steps = steps_of(mine, tmp_path)
    for step, root in prepared(tmp_path):
        store = open_store(root)
        with (
            interfering(interleaving(lambda root=root: theirs(open_store(root)), step)),
            suppress(VoiceNotFound),
        ):
            mine(store)
        assert_as_the_files_say(root)
        if step > steps:
            break
    assert step > 20


def test_a_voice_that_is_committed_and_told_of_while_a_worker_waits_for_the_lock_stays(store, root):
    put("Amy", 1)(store)
    other = open_store(root)
    waits = []

    def clone_at_the_lock(step, name, call, arguments, options):
        if name == "open" and str(arguments[0]).endswith(LOCK_FILE) and not waits:
            waits.append(step)
            put("Ben", 2)(other)
        return call(*arguments, **options)

    with interfering(clone_at_the_lock):
        put("Cy", 3)(VoiceStore(root, AT_ONCE))
    assert waits
    assert_as_the_files_say(root)


@pytest.mark.usefixtures("_no_locks")
@pytest.mark.parametrize("other", ["put", "delete all"])
def test_what_a_worker_leaves_that_dies_beside_another_one_is_seen_and_finished(other, tmp_path):
    """Another one changes all before a step, and the worker is killed a few steps later."""
    mine, theirs = CHANGES["put"], OTHERS[other]
    steps = steps_of(mine, tmp_path)
    problems_seen = 0
    for step, root in prepared(tmp_path):
        crash = interleaving(
            lambda root=root: theirs(open_store(root)), step, crash_at=step + STEPS_TO_DEATH[step % 2]
        )
        with suppress(CrashError), interfering(crash):
            mine(open_store(root))
        problems = check(root, sleep=lambda _: None).problems
        problems_seen += len(problems)
        repaired = tmp_path / "repaired"
        shutil.copytree(root, repaired)
        repair(repaired, problems)
        assert_nothing_is_left_or_lost(repaired)
        put("Eve", 5)(open_store(root))
        assert_nothing_is_left_or_lost(root)
        shutil.rmtree(repaired)
        if step > steps:
            break
    assert problems_seen > 0


def assert_nothing_is_left_or_lost(root: Path) -> None:
    there = {path.name.removesuffix(".pkl.gz") for path in (root / "embeddings").glob("*.pkl.gz")}
    deleted = {path.name.split(".")[0] for path in (root / "deleted").glob("*.json")} - there
    catalog = read_json(root / "voice_catalog.json")
    assert catalog.keys() == there
    told = Told({voice_id: entry["speaker_name"] for voice_id, entry in catalog.items()}, deleted=deleted)
    assert unknown_to_older_programs(root, told) == []
    assert traces_of_deleted(root, told) == []
