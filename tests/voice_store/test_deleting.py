"""Deleting and replacing voices, and what is swept afterwards."""

import errno
import os

import pytest

from errors import StoreUnavailable, VoiceNotFound
from tests.voice_store.conftest import make_waveform, names, write_plain_file
from voice_store import DeleteResult, VoiceStore
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


def test_a_deletion_that_was_cut_short_is_one_even_without_indexes(store, root, monkeypatch):
    voice_id = store.put(make_waveform(1), "Amy").voice.voice_id
    store.put(make_waveform(2), "Ben")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        assert store.delete(name="Amy").deleted
    assert (root / "embeddings" / f"{voice_id}.pkl.gz").exists()
    for path in root.glob("*.json"):
        path.unlink()
    reader = VoiceStore(root, AT_ONCE)
    assert names(reader) == {"Ben"}
    with pytest.raises(VoiceNotFound):
        reader.get(voice_id=voice_id)
    reader.put(make_waveform(3), "Cy")
    assert not (root / "embeddings" / f"{voice_id}.pkl.gz").exists()


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
