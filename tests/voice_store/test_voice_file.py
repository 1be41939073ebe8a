"""Voices of other programs are read here, and voices written here are read by other programs."""

import gzip
import hashlib
import json
import os
import pickle
import pickletools
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from audio.waveform import Waveform, resample
from errors import InvalidRequest, StoreCorrupt
from tests.voice_store.conftest import make_waveform
from tests.voice_store.fixtures.make import SAMPLES, VOICES
from voice_store.voice_file import HEAD_BYTES, MAX_HEAD_BYTES, decode_voice, encode_voice, peek_voice

FIXTURES = Path(__file__).parent / "fixtures"
ARCHIVES = sorted(FIXTURES.glob("numpy-*.zip"))

# What any program may do with the store: nothing but the standard library, and whatever numpy it has.
PLAIN_READER = """
import gzip, hashlib, json, pickle, sys
import numpy
root, found = sys.argv[1], {}
catalog, names = json.load(open(root + "/voice_catalog.json")), json.load(open(root + "/name_mapping.json"))
for name, voice_id in names.items():
    with gzip.open(root + "/" + catalog[voice_id]["embedding_file"], "rb") as file:
        voice = pickle.load(file)
    audio = voice.pop("audio")
    kind = [type(audio).__name__, str(audio.dtype), audio.ndim, bool(audio.flags.writeable)]
    found[name] = [kind, hashlib.sha256(audio.tobytes()).hexdigest(), voice]
print(json.dumps([numpy.__version__, found]))
"""


def read_plainly(python: str, root: Path) -> tuple[str, dict]:
    done = subprocess.run([python, "-c", PLAIN_READER, str(root)], capture_output=True, text=True, check=True)
    version, found = json.loads(done.stdout)
    return version, found


def assert_plain_program_reads(python: str, root: Path, store) -> str:
    voices = {"小明": make_waveform(1), "Amy": make_waveform(2, duration_s=3.0), "👩‍👩‍👧": make_waveform(3)}
    for name, waveform in voices.items():
        store.put(waveform, name, gender="female")
    version, found = read_plainly(python, root)
    assert found.keys() == voices.keys()
    for name, (kind, digest, fields) in found.items():
        assert kind == ["ndarray", "float32", 1, True]
        assert digest == hashlib.sha256(voices[name].samples.tobytes()).hexdigest()
        assert fields == {
            "sample_rate": 24000,
            "voice_name": name,
            "created_at": store.metadata(name=name)["created_at"],
            "about": '{"gender": "female"}',
        }
    return version


def test_plain_program_reads_the_store_under_numpy_2(store, root):
    assert assert_plain_program_reads(sys.executable, root, store).startswith("2.")


@pytest.mark.skipif(
    "NUMPY126_PYTHON" not in os.environ,
    reason="NUMPY126_PYTHON names no Python interpreter that has numpy 1.26",
)
def test_plain_program_reads_the_store_under_numpy_1_26(store, root):
    assert assert_plain_program_reads(os.environ["NUMPY126_PYTHON"], root, store).startswith("1.26.")


def test_written_pickle_is_one_that_numpy_1_has_the_names_for():
    payload = zlib.decompress(encode_voice(make_waveform(1), "Amy", "2024-05-06T07:08:09"), wbits=31)
    operations = [(opcode, argument) for opcode, argument, _ in pickletools.genops(payload)]
    assert max(opcode.proto for opcode, _ in operations) == 4
    assert operations[0][1] == 4
    texts = [argument for opcode, argument in operations if opcode.name == "BINUNICODE"]
    keys = [
        *("sample_rate", "voice_name", "Amy", "created_at", "2024-05-06T07:08:09", "about", "{}", "audio")
    ]
    names = ["numpy.core.multiarray", "_reconstruct", "numpy", "ndarray", "numpy", "dtype"]
    assert texts[:14] == keys + names
    names = [position for position, (opcode, _) in enumerate(operations) if opcode.name == "STACK_GLOBAL"]
    assert [(operations[at - 2][1], operations[at - 1][1]) for at in names] == [
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    ]


def test_voice_comes_back_bit_for_bit():
    waveform = make_waveform(1)
    voice = decode_voice(encode_voice(waveform, "Zoë 小明", "2024-05-06T07:08:09"), "id")
    assert voice.waveform.digest() == waveform.digest()
    assert (voice.name, voice.created_at) == ("Zoë 小明", "2024-05-06T07:08:09")


def test_same_voice_is_the_same_bytes():
    first, second = (encode_voice(make_waveform(1), "Amy", "2024-05-06T07:08:09") for _ in range(2))
    assert first == second


def test_strided_samples_are_written_in_order():
    samples = make_waveform(1).samples[::2]
    voice = decode_voice(encode_voice(Waveform(samples, 24_000), "Amy", ""), "id")
    assert np.array_equal(voice.waveform.samples, samples)


@pytest.mark.parametrize("name", ["A", "小明", "👩‍👩‍👧" * 42, "\U0001f600" * 256, "created_at audio" * 4, ""])
@pytest.mark.parametrize("audio", ["noise", "silence", "16 bit", "one sample"])
def test_the_head_of_a_file_tells_what_the_whole_does(name, audio):
    samples = make_waveform(1, duration_s=3.0).samples
    samples = {
        "noise": samples,
        "silence": 0 * samples,
        "16 bit": (samples * 2**15).astype(np.int16).astype(np.float32) / np.float32(2**15),
        "one sample": samples[:1],
    }[audio]
    about = {"description": "warm, 温暖 created_at audio", "tags": ["about"]}
    data = encode_voice(Waveform(samples, 24_000), name, "2024-05-06T07:08:09", about)
    assert decode_voice(data, "id").header.about == about
    assert peek_voice(data[:HEAD_BYTES]) == decode_voice(data, "id").header


def test_a_head_that_goes_on_tells_nothing_until_it_is_whole():
    about = {"pronunciations": [{"text": f"word {number}", "say": "x" * 500} for number in range(500)]}
    data = encode_voice(make_waveform(1), "Amy", "2024-05-06T07:08:09", about)
    assert peek_voice(data[:HEAD_BYTES]) is None
    assert peek_voice(data[:MAX_HEAD_BYTES]) == decode_voice(data, "id").header
    with pytest.raises(InvalidRequest, match="too long"):
        encode_voice(make_waveform(1), "Amy", "", {"description": "x" * 2**21})


@pytest.mark.parametrize("about", ["", "[1]", "{", "null", "[" * 100_000, '{"a": NaN}', 7, None, ["x"]])
def test_what_a_stranger_says_about_a_voice_is_read_or_passed_over(about):
    content = {"audio": make_waveform(1).samples, "voice_name": "Amy", "about": about}
    voice = decode_voice(gzip.compress(pickle.dumps(content, 4)), "id")
    assert voice.name == "Amy"
    assert voice.header.about is None or isinstance(voice.header.about, dict)


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.stem)
def test_the_head_of_another_programs_file_tells_nothing(archive):
    with zipfile.ZipFile(archive) as voices:
        assert {peek_voice(voices.read(name)[:HEAD_BYTES]) for name in voices.namelist()} == {None}


def test_noise_is_stored_as_it_is_and_what_more_than_halves_is_compressed():
    noise = make_waveform(1, duration_s=3.0)
    silence = Waveform(np.zeros_like(noise.samples), 24_000)
    sizes = [len(encode_voice(waveform, "Amy", "")) for waveform in (noise, silence)]
    assert sizes[0] <= 1.001 * noise.samples.nbytes + 1_000
    assert sizes[1] < 0.01 * noise.samples.nbytes


def test_fixtures_are_of_both_numpy_generations():
    assert [path.name.split(".")[0] for path in ARCHIVES] == ["numpy-1", "numpy-2"]


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.stem)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", VOICES)
def test_voice_of_another_program_is_read(archive, kind, protocol):
    with zipfile.ZipFile(archive) as voices:
        voice = decode_voice(voices.read(f"{kind}.protocol{protocol}.pkl.gz"), "id")
    expected = Waveform(SAMPLES.astype(np.float32), 44_100 if kind == "44100" else 24_000)
    assert voice.waveform.sample_rate_hz == 24_000
    assert np.array_equal(voice.waveform.samples, resample(expected, 24_000).samples)
    assert voice.name == {"dict": "小明", "44100": "x"}.get(kind)
    assert voice.created_at == ("2024-05-06T07:08:09" if kind in ("dict", "datetime") else None)


def test_samples_belong_to_the_voice_alone():
    data = encode_voice(make_waveform(1), "Amy", "")
    samples = decode_voice(data, "id").waveform.samples
    samples[:] = 0
    assert samples.flags.c_contiguous
    assert decode_voice(data, "id").waveform.samples.any()


def test_damage_is_told_with_the_id_and_what_to_do():
    with pytest.raises(
        StoreCorrupt, match=r"voice 1a2b3c4d .*; clone the voice again with overwrite, or restore the file"
    ):
        decode_voice(b"not gzip", "1a2b3c4d")
