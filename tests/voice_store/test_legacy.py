"""A store of 37 voices that older programs made: served unchanged, and still theirs after we wrote to it."""

import gzip
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.voice_store.conftest import make_waveform, names, snapshot, write_json
from voice_store import VoiceStore
from voice_store.live import Timing

COUNT = 37

# All that an older program has: no module of ours is imported.
PLAIN_READER = """
import gzip, hashlib, json, pickle, sys
from pathlib import Path

root = Path(sys.argv[1])
catalog = json.loads((root / "voice_catalog.json").read_text())
for name, voice_id in sorted(json.loads((root / "name_mapping.json").read_text()).items()):
    with gzip.open(root / catalog[voice_id]["embedding_file"].replace("\\\\", "/"), "rb") as file:
        content = pickle.load(file)
    audio = content["audio"] if isinstance(content, dict) else content
    assert json.loads((root / "metadata" / f"{voice_id}.json").read_text())["voice_id"] == voice_id
    assert catalog[voice_id]["speaker_name"] == name, name
    print(json.dumps([name, voice_id, str(audio.dtype), hashlib.sha256(audio.tobytes()).hexdigest()]))
"""


def legacy_name(number: int) -> str:
    return ["narrator", "小明", "Zoë", "émile", "محمد"][number % 5] + f" {number}"


def legacy_content(number: int) -> object:
    """No kind of content is left out that older programs wrote."""
    samples = make_waveform(number).samples
    return [
        {
            "audio": samples,
            "sample_rate": 24_000,
            "voice_name": legacy_name(number),
            "created_at": "2023-01-01",
        },
        samples,
        {"audio": samples.astype(np.float64), "sample_rate": np.int64(24_000)},
        {"audio": (samples * 2**15).astype(np.int16)},
    ][number % 4]


@pytest.fixture
def legacy(root: Path) -> Path:
    catalog = {}
    (root / "embeddings").mkdir(parents=True)
    for number in range(COUNT):
        voice_id = f"{number:08x}" if number % 7 else f"voice_{number}.v1"
        with gzip.open(root / "embeddings" / f"{voice_id}.pkl.gz", "wb") as file:
            pickle.dump(legacy_content(number), file, 2 + number % 3)
        catalog[voice_id] = {
            "voice_id": voice_id,
            "speaker_name": legacy_name(number),
            "gender": ["female", "male"][number % 2],
            "original_file": f"{number}.wav",
            "embedding_file": f"embeddings\\{voice_id}.pkl.gz"
            if number % 3
            else f"embeddings/{voice_id}.pkl.gz",
            "duration": 0.25,
            "sample_rate": 24_000,
            "created_at": f"2023-01-{number % 28 + 1:02}T00:00:00",
            "type": "chattts_embedding",
            "firebase_storage_path": f"voices/{voice_id}",
            "category": "narration",
        }
        write_json(root / "metadata" / f"{voice_id}.json", catalog[voice_id])
    write_json(root / "voice_catalog.json", catalog)
    write_json(root / "name_mapping.json", {entry["speaker_name"]: key for key, entry in catalog.items()})
    write_json(
        root / "stats.json", {"total_voices": COUNT, "gender_distribution": {"female": 19, "male": 18}}
    )
    write_json(root / "quick_index.json", {"theirs": list(catalog)})
    return root


def read_plainly(root: Path) -> dict[str, list[str]]:
    """Id, type and hash of the samples by name, read with numpy 1.26 where ``make test`` has installed it."""
    python = os.environ.get("NUMPY126_PYTHON", sys.executable)
    done = subprocess.run([python, "-c", PLAIN_READER, root], capture_output=True, text=True, check=True)
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


def test_it_is_served_unchanged(legacy):
    files = snapshot(legacy)
    for worker in (VoiceStore(legacy), VoiceStore(legacy, Timing(settle_s=0))):
        assert names(worker) == {legacy_name(number) for number in range(COUNT)}
        for number in range(COUNT):
            voice = worker.get(name=legacy_name(number))
            assert np.allclose(voice.waveform.samples, make_waveform(number).samples, atol=2**-15)
            assert voice.metadata["gender"] == ["female", "male"][number % 2]
    assert snapshot(legacy) == files


def test_plain_programs_serve_it_after_ten_clones_two_renames_and_a_delete(legacy):
    before = read_plainly(legacy)
    assert len(before) == COUNT
    worker = VoiceStore(legacy)
    clones = {f"new {number} 新": make_waveform(1_000 + number) for number in range(10)}
    for name, waveform in clones.items():
        assert worker.put(waveform, name, description="ours").created
    worker.update(name=legacy_name(1), new_name="小红")
    worker.update(name="new 3 新", new_name="renamed")
    worker.delete(name=legacy_name(2))

    after = read_plainly(legacy)
    expected = dict(before)
    expected["小红"] = expected.pop(legacy_name(1))
    del expected[legacy_name(2)]
    assert {name: after[name] for name in expected} == expected
    clones["renamed"] = clones.pop("new 3 新")
    assert after.keys() - expected.keys() == clones.keys()
    assert all(after[name][1] == "float32" for name in clones)
    catalog = json.loads((legacy / "voice_catalog.json").read_text())
    assert all("firebase_storage_path" in catalog[voice_id] for voice_id, *_ in expected.values())
    assert json.loads((legacy / "quick_index.json").read_text())["theirs"]
    assert json.loads((legacy / "stats.json").read_text())["total_voices"] == COUNT + 9
