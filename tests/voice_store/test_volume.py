"""A real volume that is full, or may only be read: a small file system, where one can be mounted."""

import subprocess
from pathlib import Path

import pytest

from errors import StoreUnavailable
from tests.voice_store.conftest import make_waveform, names
from voice_store import VoiceStore
from voice_store.live import Timing

AT_ONCE = Timing(settle_s=0)


def fill(volume: Path) -> None:
    with (volume / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(512)):
                pass
        except OSError:
            return


def test_a_full_volume_keeps_what_it_has_and_says_so(volume):
    root = volume / "voice_embeddings"
    store = VoiceStore(root, AT_ONCE)
    kept = {}

    def keep_until_it_is_full() -> None:
        for seed in range(1_000):
            kept[f"voice {seed}"] = store.put(make_waveform(seed), f"voice {seed}").voice.digest

    with pytest.raises(StoreUnavailable, match="the volume is full; remove voices or enlarge it"):
        keep_until_it_is_full()
    assert len(kept) > 5
    fill(volume)
    for worker in (store, VoiceStore(root, AT_ONCE)):
        assert {name: worker.get(name=name).digest for name in names(worker)} == kept
        with pytest.raises(StoreUnavailable, match="full"):
            worker.put(make_waveform(5_000), "one more")
        with pytest.raises(StoreUnavailable, match="full"):
            worker.update(name="voice 0", description="x" * 1_000)
    assert not list(root.rglob("*.tmp"))


def test_on_a_full_volume_voices_can_be_deleted_and_then_kept_again(volume):
    store = VoiceStore(volume / "voice_embeddings", AT_ONCE)
    for seed in range(5):
        store.put(make_waveform(seed), f"voice {seed}")
    fill(volume)
    assert store.delete(name="voice 0").deleted
    assert store.delete(name="voice 1").deleted
    assert store.put(make_waveform(9), "voice 9").created
    assert names(VoiceStore(volume / "voice_embeddings", AT_ONCE)) == {f"voice {n}" for n in (2, 3, 4, 9)}


def test_a_volume_that_can_only_be_read_serves_voices(volume):
    root = volume / "voice_embeddings"
    VoiceStore(root, AT_ONCE).put(make_waveform(1), "Amy")
    (root / "voice_catalog.json").unlink()  # so that reading would write
    subprocess.run(["mount", "-o", "remount,ro", str(volume)], check=True)
    store = VoiceStore(root, AT_ONCE)
    assert store.get(name="Amy").digest == make_waveform(1).digest()
    for change in (
        lambda: store.put(make_waveform(2), "Ben"),
        lambda: store.update(name="Amy", new_name="Zoë"),
        lambda: store.delete(name="Amy"),
    ):
        with pytest.raises(StoreUnavailable, match="make it readable and writable"):
            change()
    assert names(store) == {"Amy"}


def test_a_volume_that_was_detached_is_told_and_comes_back(tmp_path):
    root = tmp_path / "volume" / "voice_embeddings"
    root.parent.mkdir()
    store = VoiceStore(root, AT_ONCE)
    store.put(make_waveform(1), "Amy")
    root.parent.rename(tmp_path / "away")
    for use in (store.list, lambda: store.get(name="Amy"), lambda: store.delete(name="Amy")):
        with pytest.raises(StoreUnavailable, match="not mounted"):
            use()
    assert not root.parent.exists()
    (tmp_path / "away").rename(root.parent)
    assert store.get(name="Amy").digest == make_waveform(1).digest()


def test_a_full_volume_takes_no_preview_and_keeps_the_former_one(volume):
    root = volume / "voice_embeddings"
    store = VoiceStore(root, AT_ONCE)
    with_preview, without = (
        store.put(make_waveform(seed), f"voice {seed}").voice.voice_id for seed in (1, 2)
    )
    assert store.put_preview(with_preview, b"a sentence")
    fill(volume)
    for voice_id in (with_preview, without):
        assert store.put_preview(voice_id, bytes(100_000)) is False
    assert store.preview(with_preview) == b"a sentence"
    assert store.preview(without) is None
    assert store.get(voice_id=without).name == "voice 2"
    assert not list(root.rglob("*.tmp"))
