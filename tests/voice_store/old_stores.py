"""Stores that earlier versions and older programs left, and the plain code by which they are read."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import pickle
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from tests.voice_store.conftest import make_waveform, write_json

BEFORE = Path(__file__).parent / "data" / "store-before.tar"
LEGACY_COUNT = 37

# All that an older program has: no module of ours can be imported.
PLAIN_READER = """
import gzip, hashlib, json, pickle, sys
from pathlib import Path

root = Path(sys.argv[1])
catalog = json.loads((root / "voice_catalog.json").read_text())
for name, voice_id in json.loads((root / "name_mapping.json").read_text()).items():
    with gzip.open(root / catalog[voice_id]["embedding_file"].replace("\\\\", "/"), "rb") as file:
        content = pickle.load(file)
    audio = content["audio"] if isinstance(content, dict) else content
    sha256 = hashlib.sha256(audio.tobytes()).hexdigest()
    print(json.dumps([name, catalog[voice_id], str(audio.dtype), sha256]))
"""


@dataclass(frozen=True)
class PlainVoice:
    """What the plain code reads of a voice: its catalog's entry, and type and hash of its samples."""

    entry: Mapping[str, Any]
    dtype: str
    sha256: str


@dataclass
class OldStore:
    """A store and what is known of it.

    voices: name by id. samples, digests: of the waveforms by id, as far as they are known. aliases: further
    names, with their ids. gone: name by id of voices that were deleted or replaced. metadata: by id, as far
    as it is known.
    """

    root: Path
    voices: dict[str, str] = field(default_factory=dict)
    samples: dict[str, Waveform] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_plainly(root: Path) -> dict[str, PlainVoice]:
    """Each voice by name, read with numpy 1.26 where ``make test`` has installed it."""
    python = os.environ.get("NUMPY126_PYTHON", sys.executable)
    command = [python, "-I", "-c", PLAIN_READER, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: PlainVoice(*rest) for name, *rest in map(json.loads, done.stdout.splitlines())}


def unpack_store_before(folder: Path, *, age_s: float = 0) -> OldStore:
    """The store that ``make_old_store`` packed.

    The files of voices keep their times, since the notes in ``deleted/`` name them; those notes and the files
    that dead workers left are as old as is asked for.
    """
    with tarfile.open(BEFORE) as tar:
        tar.extractall(folder, filter="data")
        for member in reversed(tar.getmembers()):  # a folder after what is in it
            os.utime(folder / member.name, ns=(_mtime_ns(member), _mtime_ns(member)))
    expected = json.loads((folder / "expected.json").read_text())
    root, then_s = folder / "store", time.time() - age_s
    for path in [*(root / "deleted").iterdir(), *(root / "embeddings").glob(".*.tmp")]:
        if path.stat().st_nlink == 1:  # else it is the file of a voice, too
            os.utime(path, (then_s, then_s))
    return OldStore(
        root,
        voices={voice["voice_id"]: voice["speaker_name"] for voice in expected["voices"]},
        digests=expected["digests"],
        aliases=expected["aliases"],
        gone=expected["gone"],
        metadata={voice["voice_id"]: voice for voice in expected["voices"]},
    )


def _mtime_ns(member: tarfile.TarInfo) -> int:
    """From the header's digits: tarfile itself makes a float of them."""
    seconds, _, nanoseconds = member.pax_headers["mtime"].partition(".")
    return int(seconds) * 10**9 + int(nanoseconds)


def make_legacy_store(root: Path, *, complete: bool = True) -> OldStore:
    """A store of 37 voices as programs older than this one wrote it; no kind of content is left out.

    complete: whether the indexes say all about every voice; else some entries, names, keys and files lack.
    """
    legacy = OldStore(root)
    catalog: dict[str, dict[str, Any]] = {}
    mapping: dict[str, str] = {}
    (root / "embeddings").mkdir(parents=True)
    for number in range(LEGACY_COUNT):
        voice_id, name = legacy_id(number), legacy_name(number)
        content, waveform = _legacy_content(number)
        with gzip.open(root / "embeddings" / f"{voice_id}.pkl.gz", "wb") as file:
            pickle.dump(content, file, 2 + number % 3)  # numpy 1.26 reads no array that numpy 2 wrote by 5
        entry = _legacy_entry(number, waveform.duration_s)
        legacy.voices[voice_id], legacy.samples[voice_id] = name, waveform
        mapping[name] = voice_id
        if number % 10 == 3:
            mapping[f"alias {number}"] = voice_id
            legacy.aliases[f"alias {number}"] = voice_id
        if "name" in entry:
            legacy.aliases[entry["name"]] = voice_id
        if not complete and number % 9 == 4:
            del entry["duration"], entry["created_at"]
        if not complete and number % 12 == 5:
            entry["name"] = entry.pop("speaker_name")
            legacy.aliases = {alias: of for alias, of in legacy.aliases.items() if of != voice_id}
        if complete or number % 11 != 10:
            catalog[voice_id] = entry
        if complete or number % 13 != 12:
            write_json(root / "metadata" / f"{voice_id}.json", entry)
        legacy.metadata[voice_id] = {"gender": entry["gender"], "original_file": entry["original_file"]}
    write_json(root / "voice_catalog.json", catalog)
    write_json(root / "name_mapping.json", mapping)
    write_json(
        root / "stats.json",
        {"total_voices": LEGACY_COUNT, "gender_distribution": {"female": 19, "male": 18}, "theirs": 1},
    )
    write_json(root / "quick_index.json", {"theirs": list(catalog)})
    return legacy


def legacy_id(number: int) -> str:
    """Most are 8 hex digits; some were made up in other ways."""
    made_up = {0: f"voice_{number}.v1", 1: f"ABCDEF{number:02}", 2: f"stimme-Ü_{number}", 3: f"{number:032x}"}
    return made_up[number // 7 % 4] if number % 7 == 0 else f"{number:08x}"


def legacy_name(number: int) -> str:
    return ["narrator", "小明", "Zoë", "émile", "محمد"][number % 5] + f" {number}"


def _legacy_content(number: int) -> tuple[object, Waveform]:
    """What the file holds, and what a voice it is."""
    samples = make_waveform(number).samples
    rate_hz = {4: 44_100, 6: 16_000}.get(number % 9, MODEL_SAMPLE_RATE_HZ)
    content: object = [
        {
            "audio": samples,
            "sample_rate": 24_000,
            "voice_name": legacy_name(number),
            "created_at": "2023-01-01",
        },
        samples,
        {"audio": samples.astype(np.float64), "sample_rate": np.int64(24_000)},
        {"audio": (samples * 2**15).astype(np.int16)},
        {"audio": samples, "sample_rate": rate_hz},
        {"audio": np.stack([samples, samples], axis=1), "sample_rate": 24_000},
        {"audio": (samples * 2**31).astype(np.int32), "sample_rate": np.int64(rate_hz)},
        {"audio": samples.astype(np.float16), "sample_rate": 24_000, "voice_name": legacy_name(number)},
        {
            "audio": samples,
            "sample_rate": 24_000,
            "created_at": datetime.datetime(2023, 1, 2, 3, 4, 5),
            "category": "narration",
            "embedding": None,
        },
    ][number % 9]
    return content, resample(Waveform(samples, rate_hz), MODEL_SAMPLE_RATE_HZ)


def _legacy_entry(number: int, duration_s: float) -> dict[str, Any]:
    voice_id, separator = legacy_id(number), "/" if number % 3 == 0 else "\\"
    entry: dict[str, Any] = {
        "voice_id": voice_id,
        "speaker_name": legacy_name(number),
        "gender": ["female", "male"][number % 2],
        "original_file": f"{number}.wav",
        "embedding_file": f"embeddings{separator}{voice_id}.pkl.gz",
        "duration": round(duration_s, 2),
        "sample_rate": 24_000,
        "created_at": f"2023-01-{number % 28 + 1:02}T00:00:00",
        "type": "chattts_embedding",
        "firebase_storage_path": f"voices/{voice_id}",
    }
    if number % 4 == 1:
        entry["category"] = "narration"
    if number % 6 == 2:
        entry["name"] = f"full name of {number}"
    return entry
