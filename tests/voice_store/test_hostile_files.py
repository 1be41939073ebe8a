"""What lies where a voice belongs is read as a voice or refused: it never runs and never fills the memory."""

import gzip
import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import StoreCorrupt, StoreUnavailable, VoiceNotFound
from tests.voice_store import attacks, fuzz_voice_file
from tests.voice_store.conftest import make_waveform, write_plain_file
from voice_store import VoiceStore
from voice_store.voice_file import (
    MAX_FILE_BYTES,
    MAX_PICKLE_BYTES,
    decode_voice,
    encode_voice,
)

REPOSITORY = Path(__file__).parents[2]

# Prints by how many MiB decoding the files raised the highest memory use of a fresh process.
MEASURE_PEAK = """
import sys
from pathlib import Path
from contextlib import suppress
from errors import StoreCorrupt
from voice_store.voice_file import decode_voice

def peak_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

files = [path.read_bytes() for path in Path(sys.argv[1]).iterdir()]
before = peak_kib()
for data in files:
    with suppress(StoreCorrupt):
        decode_voice(data, "id")
print((peak_kib() - before) // 1024)
"""


def test_attacks_are_voices_but_for_what_they_try():
    assert decode_voice(attacks.GOOD, "id").waveform.samples.tolist() == [0, 0, 0, 0]


def test_attacks_do_run_in_a_plain_reader(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(attacks.PICKLES["os.system"])
    assert (tmp_path / attacks.MARKER).exists()


@pytest.mark.parametrize("attack", attacks.FILES)
def test_attack_is_refused_and_does_not_run(attack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreCorrupt, match="voice 1a2b3c4d"):
        decode_voice(attacks.FILES[attack], "1a2b3c4d")
    assert list(tmp_path.iterdir()) == []


def test_memory_stays_bounded(tmp_path):
    wide = attacks.text(
        "x" * (MAX_PICKLE_BYTES - 2**20) + "👩"
    )  # one emoji makes Python keep 4 bytes for each x
    largest = gzip.compress(attacks.voice(voice_name=wide), 1)
    for number, data in enumerate([*attacks.FILES.values(), largest]):
        (tmp_path / str(number)).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE_PEAK, tmp_path],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) * 2**20 < 8 * MAX_PICKLE_BYTES


SMALL = encode_voice(make_waveform(1, duration_s=0.01), "Amy", "2024-05-06T07:08:09")


def test_every_torn_prefix_is_refused():
    for length in range(len(SMALL)):
        with pytest.raises(StoreCorrupt):
            decode_voice(SMALL[:length], "id")


def test_every_flipped_bit_leaves_the_voice_or_is_refused():
    whole = decode_voice(SMALL, "id")
    refused = 0
    for position in range(8 * len(SMALL)):
        flipped = bytearray(SMALL)
        flipped[position // 8] ^= 1 << position % 8
        try:
            voice = decode_voice(bytes(flipped), "id")
        except StoreCorrupt:
            refused += 1
            continue
        assert (voice.name, voice.created_at) == (whole.name, whole.created_at)
        assert voice.waveform.digest() == whole.waveform.digest()
    assert refused > 0.99 * 8 * len(SMALL)  # a few bits of gzip's header mean nothing


PICKLES = fuzz_voice_file.sample_pickles()
EDITS = st.lists(
    st.tuples(st.integers(0, 2**16), st.integers(0, 3), st.binary(max_size=6)), min_size=1, max_size=6
)


def mutate(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Each edit replaces ``cut`` bytes by others, half the time near the start, where the structure is."""
    edited = data
    for position, cut, inserted in edits:
        at = position % min(len(edited) + 1, 400) if position % 2 else position % (len(edited) + 1)
        edited = edited[:at] + inserted + edited[at + cut :]
    return edited


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(PICKLES), EDITS)
def test_mutated_pickle_is_a_voice_or_refused(payload, edits):
    fuzz_voice_file.assert_voice_or_refused(gzip.compress(mutate(payload, edits), 1))


@settings(max_examples=300, deadline=None)
@given(EDITS)
def test_mutated_file_is_a_voice_or_refused(edits):
    fuzz_voice_file.assert_voice_or_refused(mutate(SMALL, edits))


@pytest.mark.parametrize("seed", range(len(fuzz_voice_file.seeds())))
def test_what_the_fuzzer_starts_from_is_a_voice_or_refused(seed):
    fuzz_voice_file.try_bytes(fuzz_voice_file.seeds()[seed])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_pickle_bytes_are_a_voice_or_refused(payload):
    fuzz_voice_file.assert_voice_or_refused(gzip.compress(b"\x80\x04" + payload, 1))


def _make_link_out(path: Path) -> None:
    write_plain_file(path.parent.parent.parent / "elsewhere", "secret", make_waveform(9).samples)
    path.symlink_to(path.parent.parent.parent / "elsewhere" / "embeddings" / "secret.pkl.gz")


def _make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket must be short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def _make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)


@pytest.mark.parametrize(
    "make",
    [_make_link_out, os.mkfifo, _make_socket, Path.mkdir, _make_huge, Path.touch],
    ids=["link", "pipe", "socket", "folder", "huge", "empty"],
)
def test_what_is_no_file_of_a_voice_is_refused_and_the_others_go_on(make, store, root):
    store.put(make_waveform(1), "Amy")
    make(root / "embeddings" / "0badf00d.pkl.gz")
    with pytest.raises(StoreCorrupt, match="0badf00d"):
        store.get(voice_id="0badf00d")
    assert store.get(name="Amy").digest == make_waveform(1).digest()
    assert [voice["speaker_name"] for voice in store.list()] == ["Amy"]


def test_hostile_file_is_removed_by_its_id(store, root):
    store.put(make_waveform(1), "Amy")
    _make_link_out(root / "embeddings" / "0badf00d.pkl.gz")
    store.delete(voice_id="0badf00d")
    with pytest.raises(VoiceNotFound):
        store.get(voice_id="0badf00d")
    assert (root.parent / "elsewhere" / "embeddings" / "secret.pkl.gz").exists()


def test_damaged_voice_that_the_catalog_names_is_listed_refused_and_removable(store, root):
    kept, broken = (store.put(make_waveform(seed), name).voice for seed, name in ((1, "Amy"), (2, "Ben")))
    (root / "embeddings" / f"{broken.voice_id}.pkl.gz").write_bytes(attacks.FILES["os.system"])
    with pytest.raises(StoreCorrupt):
        store.get(name="Ben")
    assert {voice["speaker_name"] for voice in store.list()} == {"Amy", "Ben"}
    assert store.get(name="Amy").digest == kept.digest
    store.delete(name="Ben")
    assert [voice["speaker_name"] for voice in store.list()] == ["Amy"]


JUNK = {
    "not JSON": b"{",
    "torn": b'{"a": {"speaker_name": "Amy"',
    "a list": b"[1, 2]",
    "deep": b"[" * 1_000_000,
    "deep in an object": b'{"a": ' + b"[" * 1_000_000,
    "long number": b'{"a": ' + b"9" * 10_000 + b"}",
    "invalid UTF-8": b'{"\xff": 1}',
    "too large": b'{"a": "' + b"x" * (16 * 2**20) + b'"}',
    "nothing": b"",
}


@pytest.mark.parametrize("file", ["voice_catalog.json", "name_mapping.json", "stats.json", "metadata"])
@pytest.mark.parametrize("junk", JUNK)
def test_junk_in_an_index_is_made_good(file, junk, store, root):
    voice = store.put(make_waveform(1), "Amy").voice
    path = root / "metadata" / f"{voice.voice_id}.json" if file == "metadata" else root / file
    good = json.loads(path.read_bytes())
    path.write_bytes(JUNK[junk])
    assert VoiceStore(root).get(name="amy").digest == voice.digest
    assert store.list()[0]["speaker_name"] == "Amy"
    if file in ("voice_catalog.json", "name_mapping.json"):
        assert json.loads(path.read_bytes()) == good


def test_hostile_values_in_an_index_do_not_reach_a_reply(store, root):
    voice = store.put(make_waveform(1), "Amy").voice
    hostile = (
        '{"%s": {"speaker_name": "A\\u001b[2J\\ud800my", "duration": NaN, "gender": {"a": 1}, '
        '"sample_rate": 1e999, "created_at": ["x"], "description": 7, "type": null, '
        '"embedding_file": "../../../etc/passwd"}}'
    )
    (root / "voice_catalog.json").write_text(hostile % voice.voice_id)
    (listed,) = store.list()
    json.dumps(listed, allow_nan=False, ensure_ascii=False).encode()
    assert listed["speaker_name"] == "A[2Jmy"
    assert listed["gender"] == "unknown"
    assert listed["embedding_file"] == f"embeddings/{voice.voice_id}.pkl.gz"
    assert store.get(voice_id=voice.voice_id).digest == voice.digest


def test_index_that_is_a_link_is_not_followed(store, root, tmp_path):
    store.put(make_waveform(1), "Amy")
    outside = tmp_path / "outside.json"
    outside.write_text('{"Amy": "precious"}')
    (root / "name_mapping.json").unlink()
    (root / "name_mapping.json").symlink_to(outside)
    store.put(make_waveform(2), "Ben")
    assert outside.read_text() == '{"Amy": "precious"}'
    assert not (root / "name_mapping.json").is_symlink()


def test_index_that_is_a_folder_costs_the_index_alone(store, root):
    (root / "voice_catalog.json").mkdir(parents=True)
    try:
        assert store.put(make_waveform(1), "Amy").created
    except StoreUnavailable:
        pytest.fail("a committed voice was reported as lost")
    assert store.get(name="Amy").digest == make_waveform(1).digest()
