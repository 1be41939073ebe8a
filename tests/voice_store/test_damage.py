"""Files that were torn or flipped by the volume, byte by byte: what can be served is served."""

import itertools

import pytest

from errors import StoreCorrupt
from tests.voice_store.conftest import make_waveform
from voice_store import VoiceStore
from voice_store.live import Timing

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
