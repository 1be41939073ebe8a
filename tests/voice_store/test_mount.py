"""A volume that goes away under a running worker, with real mounts where they can be made."""

import os
import subprocess
from pathlib import Path

import pytest

from cancel import CancelToken
from delivery import Delivery, Spill, spill_folder
from errors import OutputTooLarge, StoreUnavailable
from tests.voice_store.conftest import make_waveform, names
from tests.voice_store.terminal import run_cli
from voice_store import Mount, VoiceStore
from voice_store.health import check
from voice_store.live import Timing
from voice_store.mount import SENTINEL

AT_ONCE = Timing(settle_s=0)


def run(*command: str | Path) -> int:
    return subprocess.run([str(part) for part in command], capture_output=True, check=False).returncode


@pytest.fixture
def volume(tmp_path):
    """Where a file system of its own is mounted; unmounted at the end, if it still is there."""
    folder = tmp_path / "runpod-volume"
    folder.mkdir()
    if os.geteuid() != 0 or not mount(folder):
        pytest.skip("no file system can be mounted here: needs root and the right to mount")
    yield folder
    while folder.is_mount():
        run("umount", folder)


def mount(folder: Path) -> bool:
    return run("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder) == 0


@pytest.fixture
def store(volume):
    store = VoiceStore(volume / "voice_embeddings", AT_ONCE, Mount(volume))
    store.put(make_waveform(1), "Amy")
    return store


def test_nothing_is_written_where_the_volume_was(volume, store):
    run("umount", volume)
    for use in (
        store.list,
        lambda: store.get(name="Amy"),
        lambda: store.put(make_waveform(2), "Ben"),
        lambda: store.delete(name="Amy"),
    ):
        with pytest.raises(StoreUnavailable, match="not mounted any more"):
            use()
    assert list(volume.iterdir()) == []


def test_audio_is_not_kept_where_the_volume_was(volume, store):
    delivery = Delivery(Spill(volume / "audio_out", Mount(volume)))
    target = delivery.validate("auto", "a", CancelToken())
    run("umount", volume)
    with pytest.raises(OutputTooLarge):
        delivery.deliver(
            b"audio",
            target,
            extension="wav",
            content_type="audio/wav",
            reply={},
            limit_bytes=1,
            hint="",
            cancel=CancelToken(),
        )
    assert list(volume.iterdir()) == []


def test_another_volume_in_its_place_is_not_taken_for_it(volume, store):
    run("umount", volume)
    mount(volume)
    with pytest.raises(StoreUnavailable):
        store.put(make_waveform(2), "Ben")
    Mount(volume)  # of a worker that starts on the other one, and leaves its sentinel there
    with pytest.raises(StoreUnavailable):
        store.list()


def test_the_same_volume_mounted_again_is_known(volume, store, tmp_path):
    run("cp", "-a", f"{volume}/.", tmp_path / "kept")
    run("umount", volume)
    mount(volume)  # with another device number, as a network volume has then
    run("cp", "-a", f"{tmp_path}/kept/.", volume)
    assert names(store) == {"Amy"}
    store.put(make_waveform(2), "Ben")
    assert names(VoiceStore(volume / "voice_embeddings", AT_ONCE, Mount(volume))) == {"Amy", "Ben"}


def test_a_sentinel_that_somebody_tidied_away_comes_back(volume, store):
    first = (volume / SENTINEL).read_bytes()
    (volume / SENTINEL).unlink()
    assert names(store) == {"Amy"}
    assert (volume / SENTINEL).read_bytes() == first


def test_workers_share_a_sentinel(volume):
    Mount(volume)
    first = (volume / SENTINEL).read_bytes()
    Mount(volume)
    assert (volume / SENTINEL).read_bytes() == first


def test_a_volume_that_can_only_be_read_is_watched_too(volume, store):
    run("mount", "-o", "remount,ro", volume)
    store = VoiceStore(volume / "voice_embeddings", AT_ONCE, Mount(volume))
    assert store.get(name="Amy")
    run("umount", volume)
    with pytest.raises(StoreUnavailable):
        store.get(name="Amy")


def test_audio_that_no_reply_holds_stays_on_the_mount_of_the_store(volume):
    assert spill_folder(volume, volume) == volume / "audio_out"
    assert spill_folder(volume, Path("/runpod-volume")) == volume / "audio_out"  # docker run -v x:/voices
    assert spill_folder(volume / "voice_embeddings", volume) == volume / "audio_out"
    deep = volume / "a" / "b" / "voices"
    assert spill_folder(deep, volume) == volume / "a" / "b" / "audio_out"
    written = Spill(spill_folder(deep, volume), Mount(volume)).write("a.wav", b"audio")
    assert written == volume / "a" / "b" / "audio_out" / "a.wav"
    assert written.read_bytes() == b"audio"


def test_audio_stays_on_the_mount_of_a_store_behind_a_link(volume, tmp_path):
    (volume / "voices").mkdir()
    (tmp_path / "voices").symlink_to(volume / "voices")
    assert spill_folder(tmp_path / "voices", Path("/runpod-volume")) == tmp_path / "voices" / "audio_out"


def test_no_folder_is_made_for_audio_where_the_volume_was(volume):
    spill = Spill(volume / "a" / "b" / "audio_out", Mount(volume))
    run("umount", volume)
    with pytest.raises(StoreUnavailable):
        spill.write("a.wav", b"audio")
    assert list(volume.iterdir()) == []


def test_audio_beside_the_voices_is_no_trouble_to_the_store(volume):
    store = VoiceStore(volume, AT_ONCE, Mount(volume))
    store.put(make_waveform(1), "Amy")
    Spill(spill_folder(volume, volume), Mount(volume)).write("a.wav", b"audio")
    assert names(VoiceStore(volume, AT_ONCE, Mount(volume))) == {"Amy"}
    assert not check(volume).problems


def test_folders_above_the_store_are_made_on_a_mounted_volume(volume):
    """Wherever it is mounted; also where nothing is known of the mount."""
    for mounted in (Mount(volume), None):
        root = volume / str(mounted is None) / "below" / "voices"
        store = VoiceStore(root, AT_ONCE, mounted)
        assert store.list() == []
        assert not root.parent.exists()
        assert store.put(make_waveform(1), "Amy").created
        assert names(VoiceStore(root, AT_ONCE)) == {"Amy"}


def test_folders_above_the_store_are_not_made_where_no_volume_is_mounted(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_mount", lambda _: False)  # the system's temporary folder may be one
    store = VoiceStore(tmp_path / "volume" / "below" / "voices", AT_ONCE)
    for use in (store.list, lambda: store.put(make_waveform(1), "Amy")):
        with pytest.raises(StoreUnavailable, match="not mounted; attach it"):
            use()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "voices"])
def test_a_link_that_leads_nowhere_is_no_empty_store(tmp_path, caplog, capsys, below):
    (tmp_path / "link").symlink_to("gone")
    root = tmp_path / "link" / below
    store = VoiceStore(root, AT_ONCE)
    for use in (store.list, lambda: store.put(make_waveform(1), "Amy"), lambda: store.get(name="Amy")):
        with pytest.raises(
            StoreUnavailable, match="that a link leads to.* is missing; make that folder"
        ) as caught:
            use()
        assert str(tmp_path) not in caught.value.message
    assert f"the folder {tmp_path / 'gone'} is missing" in caplog.text
    assert run_cli(root, "list") == 1
    assert f"the folder {tmp_path / 'gone'} is missing" in capsys.readouterr().err
    (tmp_path / "gone").mkdir()
    assert store.put(make_waveform(1), "Amy").created
