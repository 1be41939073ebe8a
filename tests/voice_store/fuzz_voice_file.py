"""Feeds bytes that libFuzzer makes up to the reader of voice files: a voice, or StoreCorrupt, nothing else.

    make fuzz                                                       for five minutes
    python -m tests.voice_store.fuzz_voice_file CORPUS [options]    with libFuzzer's own, such as -runs=1000

The corpus folder is filled with the files of attacks.py and fixtures/ first. Needs atheris, which
``make fuzz`` installs into a virtual environment of its own.
"""

from __future__ import annotations

import gzip
import json
import sys
import zipfile
import zlib
from pathlib import Path

from errors import StoreCorrupt
from tests.voice_store import attacks
from tests.voice_store.conftest import make_waveform
from voice_store.voice_file import (
    HEAD_BYTES,
    StoredVoice,
    decode_voice,
    encode_voice,
    peek_voice,
)

FIXTURES = Path(__file__).parent / "fixtures"


def try_bytes(data: bytes) -> None:
    """As a file, and as what gzip packs into one: its checksum would refuse nearly every mutation."""
    assert_voice_or_refused(data)
    assert_voice_or_refused(zlib.compress(data, 0, wbits=31))


def assert_voice_or_refused(data: bytes) -> None:
    header = peek_voice(data[:HEAD_BYTES])
    try:
        voice = decode_voice(data, "id")
    except StoreCorrupt:
        return
    assert isinstance(voice, StoredVoice)
    assert header in (None, voice.header)
    assert voice.waveform.sample_rate_hz == 24_000
    json.dumps([voice.name, voice.created_at], allow_nan=False).encode()
    (voice.name or "").encode()


def sample_pickles() -> list[bytes]:
    """Of our own kind and of each kind that other programs write."""
    about = {"description": "warm", "tags": ["a"]}
    small = encode_voice(make_waveform(1, duration_s=0.01), "Amy", "2024-05-06T07:08:09", about)
    pickles = [zlib.decompress(small, wbits=31)]
    for archive in sorted(FIXTURES.glob("*.zip")):
        with zipfile.ZipFile(archive) as voices:
            pickles += [gzip.decompress(voices.read(name)) for name in voices.namelist()]
    return pickles


def seeds() -> list[bytes]:
    """What a fuzzer starts from. Bombs are left out: they say the same over and over."""
    return [
        data for data in (*sample_pickles(), *attacks.PICKLES.values(), attacks.GOOD) if len(data) < 2**17
    ]


def main(arguments: list[str]) -> None:
    import atheris

    corpus = Path(arguments[0])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], str(corpus), *arguments[1:]], try_bytes)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
