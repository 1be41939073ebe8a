"""What a model leaves beside a voice: kept for every worker, gone with the voice, and trusted by nobody."""

from __future__ import annotations

import os

import pytest

from tests.voice_store.conftest import make_waveform, snapshot, write_plain_file
from voice_store import VoiceStore
from voice_store.live import Timing
from voice_store.sidecars import MAX_BYTES

KEY = "chatterbox-0123456789abcdef-float32-1"
CONTENT = b"what a model made of it"


@pytest.fixture
def sidecar(store):
    return store.put(make_waveform(1), "Ada").voice.sidecar


@pytest.fixture
def folder(root):
    return root / "conditionals"


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def other_worker(root) -> VoiceStore:
    return VoiceStore(root, Timing(settle_s=0))


def test_another_worker_finds_it_under_its_key(sidecar, root):
    assert sidecar.read(KEY) is None
    sidecar.write(KEY, CONTENT)
    voice = other_worker(root).get(name="Ada")
    assert voice.sidecar.read(KEY) == CONTENT
    assert voice.sidecar.read("chatterbox-fedcba9876543210-float32-1") is None


def test_it_stays_with_the_voice_that_it_was_made_of(sidecar, store):
    sidecar.write(KEY, CONTENT)
    assert store.put(make_waveform(2), "Bob").voice.sidecar.read(KEY) is None
    store.update(name="Ada", new_name="Countess")
    assert store.get(name="Countess").sidecar.read(KEY) == CONTENT


def test_it_goes_with_the_voice(sidecar, store, folder):
    sidecar.write(KEY, CONTENT)
    kept = store.put(make_waveform(2), "Bob").voice.sidecar
    kept.write(KEY, CONTENT)
    store.delete(name="Ada")
    assert len(names_in(folder)) == 1
    assert kept.read(KEY) == CONTENT


def test_it_goes_with_a_voice_that_is_replaced(sidecar, store, folder):
    sidecar.write(KEY, CONTENT)
    store.put(make_waveform(2), "Ada", overwrite=True)
    assert not names_in(folder)


def test_nothing_is_kept_of_a_voice_that_was_deleted_meanwhile(sidecar, store, folder):
    store.delete(name="Ada")
    sidecar.write(KEY, CONTENT)
    assert not folder.exists()


def test_what_is_left_of_voices_that_went_is_swept_after_a_day(sidecar, root, folder):
    """An older program removes a voice's file and knows nothing of this one."""
    sidecar.write(KEY, CONTENT)
    young, old = (f"{voice_id}.{KEY}.safetensors" for voice_id in ("89abcdef", "fedcba98"))
    for name in (young, old, "notes.txt"):
        (folder / name).write_bytes(CONTENT)
        os.utime(folder / name, None if name == young else (0, 0))
    other_worker(root).put(make_waveform(3), "Cem")  # who writes first sweeps
    left = names_in(folder)
    assert old not in left
    assert {young, "notes.txt"} < left
    assert sidecar.read(KEY) == CONTENT


def a_pipe(path):
    os.mkfifo(path)


def a_link_to_a_secret(path):
    secret = path.parents[2] / "secret"
    secret.write_bytes(b"somebody else's")
    path.symlink_to(secret)


def a_folder(path):
    path.mkdir()


def a_huge_file(path):
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


@pytest.mark.parametrize("put_there", [a_pipe, a_link_to_a_secret, a_folder, a_huge_file])
def test_what_is_no_plain_small_file_is_not_read(sidecar, root, folder, put_there):
    sidecar.write(KEY, CONTENT)
    (path,) = folder.iterdir()
    path.unlink()
    put_there(path)
    assert sidecar.read(KEY) is None
    sidecar.write(KEY, CONTENT)  # takes its place, or leaves it; it never raises
    assert sidecar.read(KEY) in (CONTENT, None)
    if (root.parent / "secret").exists():
        assert (root.parent / "secret").read_bytes() == b"somebody else's"


@pytest.mark.parametrize("is_link", [True, False], ids=["a link", "a file"])
def test_without_a_folder_of_its_own_nothing_is_kept(sidecar, store, root, folder, is_link):
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    if is_link:
        folder.symlink_to(elsewhere)
    else:
        folder.write_text("in the way")
    before = snapshot(root)
    sidecar.write(KEY, CONTENT)
    assert sidecar.read(KEY) is None
    assert snapshot(root) == before
    assert not names_in(elsewhere)
    assert store.get(name="Ada").name == "Ada"


def test_a_voice_of_an_older_program_has_a_sidecar_too(store, root):
    store.put(make_waveform(1), "Ada")
    samples = make_waveform(5).samples
    write_plain_file(
        root,
        "01234567",
        {"voice_id": "01234567", "speaker_name": "Old", "audio": samples, "sample_rate": 24_000},
    )
    voice = other_worker(root).get(voice_id="01234567")
    voice.sidecar.write(KEY, CONTENT)
    assert other_worker(root).get(voice_id="01234567").sidecar.read(KEY) == CONTENT
