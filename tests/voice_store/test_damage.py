"""Files that were torn or flipped by the volume, byte by byte: what can be served is served."""

import errno
import itertools
import os

import pytest

from errors import StoreCorrupt
from tests.voice_store.conftest import make_waveform, names, read_json
from tests.voice_store.interference import interfering
from voice_store import VoiceStore
from voice_store.folders import StoreFolders
from voice_store.live import Timing
from voice_store.voice_file import decode_voice

AT_ONCE = Timing(settle_s=0)
DIGESTS = {name: make_waveform(seed, duration_s=0.01).digest() for seed, name in enumerate(["Zoë", "Ben"])}
INDEXES = ("voice_catalog.json", "name_mapping.json", "stats.json", "metadata/*.json", "revisions/*.json")


@pytest.fixture
def damaged(store, root, monkeypatch):
    """A function that writes other bytes into the file of a store with two voices, and what it holds now."""
    monkeypatch.setattr("voice_store.json_files.time.sleep", lambda _: None)
    store.put(make_waveform(0, duration_s=0.01), "Amy", description="calm")
    store.put(make_waveform(1, duration_s=0.01), "Ben")
    store.update(name="Amy", new_name="Zoë", tags=["x"])
    content = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def damage(path, data):
        for other, whole in content.items():
            other.write_bytes(whole)
        for aside in root.rglob("*.damaged-*"):
            aside.unlink()
        path.write_bytes(data)

    return damage


@pytest.mark.parametrize("index", INDEXES)
def test_every_torn_prefix_of_an_index_serves_every_voice(index, root, damaged):
    path = next(root.glob(index))
    whole = path.read_bytes()
    for length in range(len(whole)):
        damaged(path, whole[:length])
        worker = VoiceStore(root, AT_ONCE)
        assert {
            voice["speaker_name"]: worker.get(name=voice["speaker_name"]).digest for voice in worker.list()
        } == (DIGESTS), length


@pytest.mark.parametrize("index", INDEXES)
def test_every_flipped_bit_of_an_index_leaves_every_voice_reachable(index, root, damaged):
    """By its id, whatever the bit made of a name. Every fifth bit: all of them take a minute."""
    path = next(root.glob(index))
    whole = path.read_bytes()
    ids = {VoiceStore(root, AT_ONCE).metadata(name=name)["voice_id"]: name for name in DIGESTS}
    for position, bit in itertools.islice(itertools.product(range(len(whole)), range(8)), 0, None, 5):
        damaged(path, whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
        worker = VoiceStore(root, AT_ONCE)
        assert {voice["voice_id"] for voice in worker.list()} == ids.keys()
        for voice_id, name in ids.items():
            assert worker.get(voice_id=voice_id).digest == DIGESTS[name]


def test_every_torn_prefix_of_a_voice_leaves_the_other_one(root, damaged):
    ben = VoiceStore(root, AT_ONCE).metadata(name="Ben")["voice_id"]
    path = root / "embeddings" / f"{ben}.pkl.gz"
    whole = path.read_bytes()
    for length in range(len(whole)):
        damaged(path, whole[:length])
        worker = VoiceStore(root, AT_ONCE)
        assert worker.get(name="Zoë").digest == DIGESTS["Zoë"]
        with pytest.raises(StoreCorrupt, match=ben):
            worker.get(name="Ben")


@pytest.mark.parametrize("written_at_s", [1, 4_000_000_000], ids=["long ago", "in the future"])
def test_damaged_files_are_decoded_once_and_waited_for_never(store, root, monkeypatch, written_at_s):
    """Whatever time they claim to be of."""
    store.put(make_waveform(1), "Amy")
    for number in range(5):
        for path in (root / "embeddings" / f"torn{number}.pkl.gz", root / "metadata" / f"torn{number}.json"):
            path.write_bytes(b"{")
            os.utime(path, (written_at_s, written_at_s))
    decoded, slept = [], []
    monkeypatch.setattr(
        "voice_store.folders.decode_voice",
        lambda data, voice_id: decoded.append(voice_id) or decode_voice(data, voice_id),
    )
    monkeypatch.setattr("voice_store.json_files.time.sleep", slept.append)
    worker = VoiceStore(root, AT_ONCE)
    for seed, name in enumerate(("Ben", "Cy"), start=2):
        assert worker.put(make_waveform(seed), name).created
        worker.list()
    assert names(worker) == {"Amy", "Ben", "Cy"}
    assert sorted(decoded) == [f"torn{number}" for number in range(5)]
    assert not slept


def test_an_index_that_cannot_be_read_costs_a_clone_no_further_listings(store, root, monkeypatch):
    store.put(make_waveform(1), "Amy")
    list_voices, listings = StoreFolders.list, []
    monkeypatch.setattr(StoreFolders, "list", lambda folders: listings.append(1) or list_voices(folders))

    def fails(step, name, original, arguments, options):
        if name == "open" and arguments[0] == "voice_catalog.json":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(*arguments, **options)

    worker = VoiceStore(root, AT_ONCE)
    assert worker.put(make_waveform(2), "Ben").created
    usual = len(listings)
    listings.clear()
    with interfering(fails):
        worker = VoiceStore(root, AT_ONCE)
        assert worker.put(make_waveform(3), "Cy").created
        assert names(worker) == {"Amy", "Ben", "Cy"}
    assert len(listings) <= usual + 3
    assert names(VoiceStore(root, AT_ONCE)) == {"Amy", "Ben", "Cy"}
    assert len(read_json(root / "voice_catalog.json")) == 3


def test_indexes_that_a_full_volume_refused_are_written_later(root):
    """A clock that is turned by hand."""
    now_s = [1_000.0]
    worker = VoiceStore(root, Timing(2.0, lambda: now_s[0], lambda _: None))
    worker.put(make_waveform(1), "Amy")
    refused = []

    def is_full(step, name, original, arguments, options):
        if name == "replace" and arguments[1] == "voice_catalog.json":
            refused.append(now_s[0])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*arguments, **options)

    with interfering(is_full):
        assert worker.put(make_waveform(2), "Ben").created
        for _ in range(5):  # seconds in which nobody tries again
            now_s[0] += 2.0
            assert names(worker) == {"Amy", "Ben"}
    assert refused == [1_000.0]
    assert "Ben" not in read_json(root / "name_mapping.json")
    now_s[0] += 60.0
    assert names(worker) == {"Amy", "Ben"}
    assert read_json(root / "name_mapping.json").keys() == {"Amy", "Ben"}
