"""Threads and workers that interleave at a given step, and the cost of files that are no voices."""

from __future__ import annotations

import errno
import gc
import gzip
import json
import os
import threading
import tracemalloc
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.voice_store.conftest import make_waveform, names, read_json, write_json, write_plain_file
from tests.voice_store.faults import AT_ONCE, drop_indexes
from tests.voice_store.interference import CrashError, interfering
from voice_store import VoiceStore
from voice_store.files import Folder
from voice_store.folders import StoreFolders
from voice_store.live import LiveLibrary, Timing
from voice_store.metadata import fold_name
from voice_store.sidecars import Revisions

PATIENCE_S = 60


def in_a_thread(work) -> Future:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def is_commit(name: str, arguments: tuple) -> bool:
    return name == "link" and str(arguments[1]).endswith(".pkl.gz")


@pytest.mark.parametrize("change", ["delete", "update"])
def test_a_change_by_name_is_of_the_voice_that_has_the_name_now(root, monkeypatch, change):
    """Another thread of the worker is just looking at the volume, and has seen what was there before."""
    worker, other = VoiceStore(root), VoiceStore(root)
    worker.put(make_waveform(1), "Amy")
    looks, goes_on = threading.Event(), threading.Event()
    list_names, lookers = Folder.names, set()

    def slowly(folder, **options):
        found = list_names(folder, **options)
        if threading.get_ident() in lookers and folder.path.name == "revisions":
            looks.set()
            assert goes_on.wait(PATIENCE_S)
        return found

    monkeypatch.setattr(Folder, "names", slowly)
    other.put(make_waveform(9), "Unrelated")
    looker = in_a_thread(lambda: lookers.add(threading.get_ident()) or worker.list())
    assert looks.wait(PATIENCE_S)
    other.update(name="Amy", new_name="Zoe")
    new = other.put(make_waveform(2), "Amy").voice.voice_id
    changes = {
        "delete": lambda: worker.delete(name="Amy").voice_id,
        "update": lambda: worker.update(name="Amy", description="new")["voice_id"],
    }
    changed = in_a_thread(changes[change])
    goes_on.set()
    assert changed.result(PATIENCE_S) == new
    looker.result(PATIENCE_S)
    assert VoiceStore(root, AT_ONCE).get(name="Zoe").digest == make_waveform(1).digest()


def test_threads_of_one_worker_do_not_undo_each_others_changes(root, monkeypatch):
    """One has committed its change, and is about to tell the indexes, when the other begins."""
    worker = VoiceStore(root)
    worker.put(make_waveform(1), "Amy")
    write_once = LiveLibrary._write_once
    others: list[Future] = []

    def meet(library, **options):
        if not others:
            others.append(in_a_thread(lambda: worker.update(name="Zoe", description="calm")))
        return write_once(library, **options)

    monkeypatch.setattr(LiveLibrary, "_write_once", meet)
    worker.update(name="Amy", new_name="Zoe", language="en")
    others[0].result(PATIENCE_S)
    for drops in (False, True):
        if drops:
            drop_indexes(root)
        (voice,) = VoiceStore(root, AT_ONCE).list()
        assert (voice["speaker_name"], voice["language"], voice["description"]) == ("Zoe", "en", "calm")


def test_a_change_begun_before_another_threads_is_made_on_top_of_it(root, monkeypatch):
    """That one has committed its change, and is reading it back, when this one goes on with what it saw."""
    worker = VoiceStore(root)
    voice_id = worker.put(make_waveform(1), "Amy").voice.voice_id
    has_seen, is_reading, has_tried = threading.Event(), threading.Event(), threading.Event()
    is_there, read, add = StoreFolders.is_there, Revisions.read, Revisions.add
    early = []

    def seen(folders, *arguments):
        found = is_there(folders, *arguments)
        if early == [threading.get_ident()] and not has_seen.is_set():
            has_seen.set()
            assert is_reading.wait(PATIENCE_S)
        return found

    def read_back(revisions, *arguments):
        if has_seen.is_set() and threading.get_ident() not in early and not is_reading.is_set():
            is_reading.set()
            assert has_tried.wait(PATIENCE_S)
        return read(revisions, *arguments)

    def tried(revisions, *arguments):
        added = add(revisions, *arguments)
        if threading.get_ident() in early:
            has_tried.set()
        return added

    monkeypatch.setattr(StoreFolders, "is_there", seen)
    monkeypatch.setattr(Revisions, "read", read_back)
    monkeypatch.setattr(Revisions, "add", tried)
    first = in_a_thread(
        lambda: early.append(threading.get_ident()) or worker.update(voice_id=voice_id, description="calm")
    )
    assert has_seen.wait(PATIENCE_S)
    worker.update(voice_id=voice_id, new_name="Zoe", language="en")
    first.result(PATIENCE_S)
    for drops in (False, True):
        if drops:
            drop_indexes(root)
        (voice,) = VoiceStore(root, AT_ONCE).list()
        assert (voice["speaker_name"], voice["language"], voice["description"]) == ("Zoe", "en", "calm")


def test_without_links_a_change_waits_for_one_that_is_being_written(root, monkeypatch):
    """The other worker has reserved its number, and fills it and is done before this one takes the next."""

    def refuse(*_, **__):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", refuse)
    goes_on, is_done = threading.Event(), threading.Event()
    first = VoiceStore(root, AT_ONCE)
    second = VoiceStore(root, Timing(settle_s=0, sleep=lambda _: is_done.wait(PATIENCE_S)))
    voice_id = first.put(make_waveform(1), "Amy").voice.voice_id
    second.list()
    replace, is_empty, add = os.replace, Revisions.is_empty, Revisions.add
    others: list[Future] = []

    def seen_empty(revisions, *arguments):
        found = is_empty(revisions, *arguments)
        if found:
            goes_on.set()
        return found

    def added_later(revisions, owner, number, content):
        if content.get("language"):
            goes_on.set()
            assert is_done.wait(PATIENCE_S)
        return add(revisions, owner, number, content)

    def fills(source, target, **options):
        if target == f"{voice_id}.1.json" and not others:
            others.append(in_a_thread(lambda: second.update(voice_id=voice_id, language="en")))
            assert goes_on.wait(PATIENCE_S)
        return replace(source, target, **options)

    monkeypatch.setattr(Revisions, "is_empty", seen_empty)
    monkeypatch.setattr(Revisions, "add", added_later)
    monkeypatch.setattr(os, "replace", fills)
    first.update(name="Amy", new_name="Zoe")
    is_done.set()
    others[0].result(PATIENCE_S)
    drop_indexes(root)
    (voice,) = VoiceStore(root, AT_ONCE).list()
    assert (voice["speaker_name"], voice["language"]) == ("Zoe", "en")


def test_a_voice_that_is_renamed_while_another_takes_its_name_stays(store, root):
    """Between the promise that it is replaced and the step that keeps it."""
    store.put(make_waveform(1), "Amy")
    other = VoiceStore(root, AT_ONCE)
    renamed = []

    def rename_first(step, name, original, arguments, options):
        if is_commit(name, arguments) and not renamed:
            renamed.append(other.update(name="Amy", new_name="Zoe"))
        return original(*arguments, **options)

    with interfering(rename_first):
        assert store.put(make_waveform(2), "Amy", overwrite=True).created
    fresh = VoiceStore(root, AT_ONCE)
    assert names(fresh) == {"Amy", "Zoe"}
    assert fresh.get(name="Zoe").digest == make_waveform(1).digest()


def test_details_count_of_whoever_overwrites_with_the_same_recording_last(store, root):
    """Another worker keeps that recording under that name just before."""
    others = []

    def other_first(step, name, original, arguments, options):
        if is_commit(name, arguments) and not others:
            others.append(True)
            other = VoiceStore(root, AT_ONCE)
            others[0] = other.put(make_waveform(2), "Amy", overwrite=True, consent={"by": "Ben"})
        return original(*arguments, **options)

    with interfering(other_first):
        result = store.put(make_waveform(2), "Amy", overwrite=True, consent={"by": "Cy"}, description="calm")
    assert others[0].created
    for metadata in (result.voice.metadata, VoiceStore(root, AT_ONCE).metadata(name="Amy")):
        assert (metadata["consent"], metadata["description"]) == ({"by": "Cy"}, "calm")
    assert names(VoiceStore(root, AT_ONCE)) == {"Amy"}


def test_a_worker_that_may_start_no_thread_makes_the_indexes_good_later(store, root, monkeypatch):
    store.put(make_waveform(1), "Amy")
    drop_indexes(root)
    worker = VoiceStore(root, Timing(settle_s=0, in_background=True))

    def refuses(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        assert names(worker) == {"Amy"}
    assert not (root / "voice_catalog.json").exists()
    assert names(worker) == {"Amy"}
    for thread in threading.enumerate():
        if thread.name == "voice store":
            thread.join(PATIENCE_S)
    assert "Amy" in read_json(root / "name_mapping.json")


def test_a_name_that_is_overwritten_all_the_time_is_always_there(root, monkeypatch):
    """The voice that was found is replaced before it is read."""
    reader, writer = VoiceStore(root, AT_ONCE), VoiceStore(root, AT_ONCE)
    writer.put(make_waveform(1), "Amy")
    load, replaced = reader._cache.load, []

    def replaced_first(voice_id):
        if not replaced:
            replaced.append(writer.put(make_waveform(2), "Amy", overwrite=True))
        return load(voice_id)

    monkeypatch.setattr(reader._cache, "load", replaced_first)
    assert reader.get(name="Amy").digest == make_waveform(2).digest()


def replaced_halfway(root, name: str, seeds: tuple[int, int]) -> None:
    """A worker dies once its voice has replaced another one, whose file is still there."""
    store = VoiceStore(root, AT_ONCE)
    store.put(make_waveform(seeds[0]), name)

    def dies(step, call, original, arguments, options):
        if call == "unlink" and str(arguments[0]).endswith(".pkl.gz"):
            raise CrashError
        return original(*arguments, **options)

    with interfering(dies), suppress(CrashError):
        store.put(make_waveform(seeds[1]), name, overwrite=True)


@pytest.mark.parametrize("change", ["delete", "overwrite"])
def test_two_workers_finish_one_replacement(root, change):
    """One of them since it is asked to change the voice that came."""
    one = VoiceStore(root, Timing(2.0, lambda: 0.0))  # whose time to do what others have left never comes
    one.list()
    replaced_halfway(root, "Amy", (1, 2))
    two = VoiceStore(root, AT_ONCE)
    finished = []

    def other_first(step, name, original, arguments, options):
        if name == "rename" and "replaced" in str(arguments[0]) and not finished:
            finished.append(arguments[0])  # before, since the other worker comes here, too
            two._folders.finish_replacements()
        return original(*arguments, **options)

    with interfering(other_first):
        if change == "delete":
            assert one.delete(name="Amy").deleted
        else:
            assert one.put(make_waveform(3), "Amy", overwrite=True).created
    assert finished
    left = {voice["voice_id"] for voice in VoiceStore(root, AT_ONCE).list()}
    assert left == (set() if change == "delete" else {make_waveform(3).digest()[:8]})


def test_a_replaced_file_that_cannot_be_removed_keeps_no_other(root):
    files = {seed: f"{make_waveform(seed).digest()[:8]}.pkl.gz" for seed in range(8)}

    def fails_for(stay):
        def fails(step, name, original, arguments, options):
            if name == "unlink" and arguments[0] in stay:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return original(*arguments, **options)

        return fails

    with interfering(fails_for(set(files.values()))):
        store = VoiceStore(root, AT_ONCE)
        for seed, name in enumerate(("Amy", "Ben", "Cy", "Di")):
            store.put(make_waveform(2 * seed), name)
            store.put(make_waveform(2 * seed + 1), name, overwrite=True)
    waiting = [note.voice.voice_id for note in store._folders.deletions.list()[0]]
    assert {f"{voice_id}.pkl.gz" for voice_id in waiting} == {files[seed] for seed in (0, 2, 4, 6)}
    first = f"{waiting[0]}.pkl.gz"
    with interfering(fails_for({first})):
        assert names(VoiceStore(root, AT_ONCE)) == {"Amy", "Ben", "Cy", "Di"}
    left = {path.name for path in (root / "embeddings").iterdir()}
    assert left == {first} | {files[seed] for seed in (1, 3, 5, 7)}


def test_a_note_that_cannot_be_read_keeps_nobody_from_the_voices(store, root):
    store.put(make_waveform(1), "Amy")
    write_json(root / "deleted" / "x.y.replaced.json", {})

    def fails(step, name, original, arguments, options):
        if name == "open" and arguments[0] == "x.y.replaced.json":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(*arguments, **options)

    with interfering(fails):
        assert names(VoiceStore(root, AT_ONCE)) == {"Amy"}
        assert store.delete(name="Amy").deleted


def test_damaged_files_are_not_kept_in_memory(store, root):
    """Nor what was made of them before the damage was found."""
    store.put(make_waveform(1), "Amy")
    for number in range(8):
        for kind, content in (("torn", b"\x1f\x8b" + bytes(2**20)), ("bomb", gzip.compress(bytes(2**20)))):
            path = root / "embeddings" / f"{kind}{number}.pkl.gz"
            path.write_bytes(content)
            os.utime(path, (1, 1))
    worker = VoiceStore(root, AT_ONCE)
    tracemalloc.start()
    try:
        for _ in range(2):
            assert names(worker) == {"Amy"}
        gc.collect()
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 2**20  # less than one of them


@pytest.mark.parametrize("former", [40, 4_000])
def test_former_names_without_end_cost_no_more_than_a_few(store, root, monkeypatch, former):
    """Beside a mapping of thousands of names: their product would take a worker minutes."""
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    catalog = read_json(root / "voice_catalog.json")
    catalog[voice_id] |= {"revision": 1, "former_names": [f"former {number}" for number in range(former)]}
    write_json(root / "voice_catalog.json", catalog)
    write_json(root / "name_mapping.json", {f"mapped {number}": voice_id for number in range(4_000)})
    folded = []
    monkeypatch.setattr("voice_store.metadata.fold_name", lambda name: folded.append(name) or fold_name(name))
    assert names(VoiceStore(root, AT_ONCE)) == {"Amy"}
    assert len({name for name in folded if name.startswith("former")}) <= 40
    assert len(folded) < 4_000 * 200


@pytest.mark.parametrize("created_at", ["2026-11-22T23+01:00", "20261122T2359+0100", "yesterday", ""])
def test_a_voice_of_any_date_can_be_overwritten(store, root, created_at):
    content = {"audio": make_waveform(1).samples, "voice_name": "Amy", "created_at": created_at}
    write_plain_file(root, "deadbeef", content)
    assert store.put(make_waveform(2), "Amy", overwrite=True).created
    assert store.get(name="Amy").digest == make_waveform(2).digest()


def test_a_voice_with_a_long_id_can_be_overwritten_by_one_with_a_long_id(store, root):
    store.put(make_waveform(1), "Amy", voice_id="a" * 100)
    assert store.put(make_waveform(2), "Amy", voice_id="b" * 100, overwrite=True).created
    assert names(VoiceStore(root, AT_ONCE)) == {"Amy"}
    assert json.loads((root / "deleted" / f"{'a' * 100}.json").read_text())
