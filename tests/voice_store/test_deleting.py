"""Deleting and replacing voices, and what is swept afterwards."""

import errno
import os
import shutil
from contextlib import suppress

import pytest

from errors import StoreUnavailable, VoiceNotFound
from tests.voice_store.conftest import make_waveform, names, write_json, write_plain_file
from tests.voice_store.interference import CrashError, interfering
from voice_store import DeleteResult, VoiceStore
from voice_store.health import check, repair
from voice_store.live import Timing

AT_ONCE = Timing(settle_s=0)


def test_deleting_twice_is_told_apart(store):
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    assert store.delete(name="amy") == DeleteResult(voice_id, "Amy", deleted=True)
    for key in ({"name": "AMY"}, {"voice_id": voice_id}):
        assert store.delete(**key) == DeleteResult(voice_id, "Amy", deleted=False)


def test_what_never_was_cannot_be_deleted(store):
    store.put(make_waveform(1), "Amy")
    for key in ({"name": "Ben"}, {"voice_id": "00000000"}):
        with pytest.raises(VoiceNotFound):
            store.delete(**key)
    assert names(store) == {"Amy"}


def test_a_recording_cloned_again_after_deletion_gets_another_id(store):
    """Else a request to delete that comes twice would delete it."""
    first = store.put(make_waveform(1), "Amy").voice
    store.delete(voice_id=first.voice_id)
    second = store.put(make_waveform(1), "Amy").voice
    assert second.voice_id != first.voice_id
    assert not store.delete(voice_id=first.voice_id).deleted
    assert store.get(name="Amy").voice_id == second.voice_id


def test_what_an_older_program_stores_under_the_id_of_a_deleted_voice_is_a_voice(store, root):
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    store.delete(name="Amy")
    write_plain_file(root, voice_id, {"audio": make_waveform(1).samples, "voice_name": "Amy"})
    assert store.get(name="Amy").voice_id == voice_id
    assert store.delete(name="Amy").deleted
    assert names(store) == set()


def test_a_voice_whose_file_cannot_be_removed_is_there_as_before(store, root, monkeypatch):
    """Nobody is told that a recording is gone that still lies there; the note about it means nothing."""
    voice_id = store.put(make_waveform(1), "Amy", description="calm").voice.voice_id
    store.put(make_waveform(2), "Ben")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        with pytest.raises(StoreUnavailable):
            store.delete(name="Amy")
    for reader in (store, VoiceStore(root, AT_ONCE)):
        assert reader.get(voice_id=voice_id).metadata["description"] == "calm"
        assert names(reader) == {"Amy", "Ben"}
    assert check(root, sleep=lambda _: None).problems == ()
    assert store.delete(name="Amy").deleted
    assert not (root / "embeddings" / f"{voice_id}.pkl.gz").exists()
    assert names(VoiceStore(root, AT_ONCE)) == {"Ben"}


def test_a_replaced_voice_that_is_put_back_is_a_voice_again(store, root):
    """From a backup, say; also when catalog and metadata are lost."""
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    path = root / "embeddings" / f"{voice_id}.pkl.gz"
    recording = path.read_bytes()
    store.put(make_waveform(2), "Amy", overwrite=True)
    assert not path.exists()
    path.write_bytes(recording)
    for index in root.rglob("*.json"):
        if index.parent.name != "deleted":
            index.unlink()
    for reader in (store, VoiceStore(root, AT_ONCE)):
        assert reader.get(voice_id=voice_id).digest == make_waveform(1).digest()
        assert len(reader.list()) == 2


def test_a_file_that_came_from_another_store_replaces_nothing(store, root, tmp_path):
    """Where it replaced a voice of which this store has the same file."""
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    shutil.copytree(root, tmp_path / "other")
    successor = VoiceStore(tmp_path / "other").put(make_waveform(2), "Amy", overwrite=True).voice.voice_id
    shutil.copy(tmp_path / "other" / "embeddings" / f"{successor}.pkl.gz", root / "embeddings")
    assert {voice["voice_id"] for voice in VoiceStore(root, AT_ONCE).list()} == {voice_id, successor}
    assert store.get(voice_id=voice_id).digest == make_waveform(1).digest()


def test_a_replacement_that_was_cut_short_is_one_in_a_copy_of_the_store(store, root, tmp_path, monkeypatch):
    """A copy has other times and inodes."""
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        store.put(make_waveform(2), "Amy", overwrite=True)
    assert (root / "embeddings" / f"{voice_id}.pkl.gz").exists()
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    for index in (tmp_path / "copy").glob("*.json"):
        index.unlink()
    copy = VoiceStore(tmp_path / "copy", AT_ONCE)
    assert [voice["voice_id"] for voice in copy.list()] == [make_waveform(2).digest()[:8]]
    with pytest.raises(VoiceNotFound):
        copy.get(voice_id=voice_id)
    assert not (tmp_path / "copy" / "embeddings" / f"{voice_id}.pkl.gz").exists()


def test_a_voice_that_is_said_to_be_there_is_on_the_disk(store, root, monkeypatch):
    """The worker that committed it may not have been able to sync the folder, and says that it failed."""
    fsync, synced = os.fsync, []

    def fails(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        if path.endswith("embeddings"):
            raise OSError(errno.EIO, "broken")
        fsync(descriptor)

    def seen(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(StoreUnavailable):
            store.put(make_waveform(1), "Amy")
        other = VoiceStore(root, AT_ONCE)
        with pytest.raises(StoreUnavailable):
            other.put(make_waveform(1), "Amy")
    monkeypatch.setattr(os, "fsync", seen)
    assert not other.put(make_waveform(1), "Amy").created
    assert str(root / "embeddings") in synced


def test_a_replacement_that_was_cut_short_does_not_come_back_later(store, root, monkeypatch):
    store.put(make_waveform(1), "Amy")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        store.put(make_waveform(2), "Amy", overwrite=True)
    assert store.delete(name="Amy").deleted
    assert names(VoiceStore(root, AT_ONCE)) == set()


def test_a_replacement_that_was_not_committed_replaces_nothing(store, root, monkeypatch):
    store.put(make_waveform(1), "Amy")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", fails)
        patch.setattr(os, "unlink", fails)  # nor can the promise be taken back
        with pytest.raises(StoreUnavailable):
            store.put(make_waveform(2), "Amy", overwrite=True)
    assert store.get(name="Amy").digest == make_waveform(1).digest()
    store.update(name="Amy", new_name="Zoë")
    store.put(make_waveform(2), "Amy")
    assert names(store) == {"Amy", "Zoë"}


def test_what_workers_that_died_left_behind_is_swept_after_a_day(store, root):
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    (root / "revisions").mkdir(exist_ok=True)
    left = [
        root / "embeddings" / f".{voice_id}.pkl.gz.{'0' * 32}.tmp",
        root / "metadata" / f".{voice_id}.json.{'1' * 32}.tmp",
        root / f".voice_catalog.json.{'2' * 32}.tmp",
        root / "revisions" / "deadbeef.1.json",
    ]
    theirs = [root / "embeddings" / ".something.tmp", root / "notes.tmp"]
    fresh = root / "embeddings" / f".{voice_id}.pkl.gz.{'3' * 32}.tmp"
    for path in [*left, *theirs, fresh]:
        path.write_text("{}")
        os.utime(path, (1, 1))
    os.utime(fresh)
    VoiceStore(root, AT_ONCE).put(make_waveform(2), "Ben")
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in [*theirs, fresh])


def test_tombstones_go_after_a_month(store, root):
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    store.delete(name="Amy")
    tombstone = root / "deleted" / f"{voice_id}.json"
    assert tombstone.exists()
    os.utime(tombstone, (1, 1))
    VoiceStore(root, AT_ONCE).put(make_waveform(2), "Ben")
    assert not tombstone.exists()
    with pytest.raises(VoiceNotFound):
        store.delete(voice_id=voice_id)


def test_whatever_is_left_of_a_deleted_voice_is_listed_and_removed_by_whoever_writes_next(store, root):
    """As by a worker that died after it had written about a voice that another one was deleting."""
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    store.put(make_waveform(2), "Ben")
    store.delete(name="Amy")
    store.put(make_waveform(3), "Cy")
    left = [
        root / "metadata" / f"{voice_id}.json",
        root / "revisions" / f"{voice_id}.1.json",
        root / "conditionals" / f"{voice_id}.chatterbox.safetensors",
    ]
    for writer in (
        lambda: repair(root, check(root).problems),
        lambda: VoiceStore(root).put(make_waveform(4), "D"),
    ):
        for path in left:
            path.parent.mkdir(exist_ok=True)
            path.write_text('{"speaker_name": "Amy"}')
        told = {problem.file for problem in check(root, sleep=lambda _: None).problems}
        assert told == {str(path.relative_to(root)) for path in left}
        writer()
        assert not any(path.exists() for path in left)
    assert check(root, sleep=lambda _: None).problems == ()


def test_metadata_of_a_voice_that_is_gone_without_a_note_goes_after_a_day_unless_others_have_keys_there(
    store, root
):
    store.put(make_waveform(1), "Amy")
    ours, fresh, theirs = (root / "metadata" / f"{voice_id}.json" for voice_id in ("0a", "0b", "0c"))
    for path in (ours, fresh, theirs):
        write_json(path, {"speaker_name": "Gone"} | ({"theirs": 1} if path == theirs else {}))
    for path in (ours, theirs):
        os.utime(path, (1, 1))
    problems = check(root, sleep=lambda _: None).problems
    assert [problem.file for problem in problems] == ["metadata/0a.json"]
    VoiceStore(root).put(make_waveform(2), "Ben")
    assert [path.exists() for path in (ours, fresh, theirs)] == [False, True, True]


@pytest.mark.parametrize("call", ["unlink", "rename"])
def test_a_deletion_that_was_cut_short_anywhere_leaves_nothing_once_it_is_finished(store, root, call):
    """Metadata, changes and conditionals, too; of a voice with dots in its id as well."""
    store.put(make_waveform(2), "Ben")
    voice_id = store.put(make_waveform(1), "Amy", voice_id="amy-v1.2").voice.voice_id
    store.update(name="Amy", description="calm")
    store.get(name="Amy").sidecar.write("chatterbox", b"what a model made")
    failing_from = [0]

    def fail(step, name, original, arguments, options):
        failing_from[0] -= name == call
        if name == call and failing_from[0] < 0:
            raise OSError(errno.EIO, "broken")
        return original(*arguments, **options)

    for calls in range(6):
        failing_from[0] = calls
        with interfering(fail), suppress(StoreUnavailable, VoiceNotFound):
            store.delete(name="Amy")
    VoiceStore(root, AT_ONCE).put(make_waveform(3), "Cy")
    assert names(store) == {"Ben", "Cy"}
    about = [path for path in root.rglob(f"{voice_id}*") if path.parent.name != "deleted"]
    assert about == []


def test_of_two_workers_that_replace_a_voice_by_the_same_recording_one_may_die(store, root):
    """Between its promise and its link, while the other one is between the same two steps."""
    store.put(make_waveform(1), "Amy")

    def dies(step, name, original, arguments, options):
        if name == "link" and str(arguments[1]).endswith(".pkl.gz"):
            raise CrashError
        return original(*arguments, **options)

    def lets_the_other_go_first(step, name, original, arguments, options):
        if name == "link" and str(arguments[1]).endswith(".pkl.gz"):
            with interfering(dies), suppress(CrashError):
                VoiceStore(root, AT_ONCE).put(make_waveform(2), "Amy", overwrite=True)
        return original(*arguments, **options)

    with interfering(lets_the_other_go_first):
        store.put(make_waveform(2), "Amy", overwrite=True)
    (voice,) = VoiceStore(root, AT_ONCE).list()
    assert store.get(voice_id=voice["voice_id"]).digest == make_waveform(2).digest()


def test_a_promise_of_a_worker_that_died_deletes_no_voice_that_was_renamed(store, root, monkeypatch):
    """When the same recording is cloned under the same name, in the same second."""
    monkeypatch.setattr("voice_store.writing._later_than", lambda created_at: "2026-01-01T00:00:00")
    store.put(make_waveform(1), "Amy")

    def dies(step, name, original, arguments, options):
        if name == "link" and str(arguments[1]).endswith(".pkl.gz"):
            raise CrashError
        return original(*arguments, **options)

    with interfering(dies), suppress(CrashError):
        VoiceStore(root, AT_ONCE).put(make_waveform(2), "Amy", overwrite=True)
    store.update(name="Amy", new_name="Zoë")
    store.put(make_waveform(2), "Amy")
    assert names(VoiceStore(root, AT_ONCE)) == {"Amy", "Zoë"}
