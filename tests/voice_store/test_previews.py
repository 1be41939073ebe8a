"""The preview that is kept beside a voice: there for every worker, and gone with the voice."""

from __future__ import annotations

import os

import pytest

from tests.voice_store.conftest import make_waveform, snapshot
from voice_store import VoiceStore
from voice_store.live import Timing

FLAC = b"fLaC of a sentence"


@pytest.fixture
def voice_id(store):
    return store.put(make_waveform(1), "Ada").voice.voice_id


@pytest.fixture
def folder(root):
    return root / "previews"


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def other_worker(root) -> VoiceStore:
    return VoiceStore(root, Timing(settle_s=0))


def test_another_worker_finds_the_preview(store, voice_id, root, folder):
    assert store.preview(voice_id) is None
    assert store.put_preview(voice_id, FLAC) is True
    assert other_worker(root).preview(voice_id) == FLAC
    assert names_in(folder) == {f"{voice_id}.flac"}


def test_a_preview_takes_the_place_of_the_former_one(store, voice_id):
    store.put_preview(voice_id, FLAC)
    assert store.put_preview(voice_id, b"another") is True
    assert store.preview(voice_id) == b"another"


def test_a_voice_has_its_own_preview_and_keeps_it_under_another_name(store, voice_id):
    store.put_preview(voice_id, FLAC)
    other = store.put(make_waveform(2), "Bob").voice.voice_id
    assert store.preview(other) is None
    store.update(name="Ada", new_name="Countess", gender="female")
    assert store.preview(voice_id) == FLAC


def test_a_preview_goes_with_its_voice_alone(store, voice_id, folder):
    store.put_preview(voice_id, FLAC)
    other = store.put(make_waveform(2), "Bob").voice.voice_id
    store.put_preview(other, FLAC)
    store.delete(name="Ada")
    assert names_in(folder) == {f"{other}.flac"}
    assert store.preview(voice_id) is None


def test_a_preview_goes_with_a_voice_that_is_replaced(store, voice_id, folder):
    store.put_preview(voice_id, FLAC)
    store.put(make_waveform(2), "Ada", overwrite=True)
    assert names_in(folder) == set()


def test_a_voice_that_comes_back_has_no_preview(store, voice_id):
    store.put_preview(voice_id, FLAC)
    store.delete(name="Ada")
    assert store.preview(store.put(make_waveform(1), "Ada").voice.voice_id) is None


def test_no_preview_is_kept_of_a_voice_that_is_not_there(store, voice_id, root):
    store.delete(name="Ada")
    before = snapshot(root)
    assert store.put_preview(voice_id, FLAC) is False
    assert store.put_preview("01234567", FLAC) is False
    assert snapshot(root) == before


def test_what_lies_in_the_place_of_a_preview_is_not_read(store, voice_id, folder, tmp_path):
    store.put_preview(voice_id, FLAC)
    (tmp_path / "secret").write_bytes(b"secret")
    path = folder / f"{voice_id}.flac"
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    assert store.preview(voice_id) is None
    path.unlink()
    os.mkfifo(path)
    assert store.preview(voice_id) is None


def test_a_volume_that_does_not_take_a_preview_is_no_fault_of_the_voice(store, voice_id, folder):
    folder.write_bytes(b"a file where the folder belongs")
    assert store.put_preview(voice_id, FLAC) is False
    assert store.preview(voice_id) is None
    assert store.get(voice_id=voice_id).name == "Ada"


def test_previews_of_voices_that_are_gone_are_swept(store, voice_id, root, folder):
    store.put_preview(voice_id, FLAC)
    orphan = folder / "01234567.flac"
    orphan.write_bytes(FLAC)
    os.utime(orphan, (0, 0))
    other_worker(root).list()
    other_worker(root).put(make_waveform(2), "Bob")
    assert names_in(folder) == {f"{voice_id}.flac"}
