from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from voice_store import VoiceStore
from voice_store.indexes import LOCK_FILE
from voice_store.live import Timing


def make_waveform(seed: int, duration_s: float = 0.25) -> Waveform:
    """Noise, so that it does not compress and no two seeds are alike."""
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, round(duration_s * MODEL_SAMPLE_RATE_HZ))
    return Waveform(samples.astype(np.float32), MODEL_SAMPLE_RATE_HZ)


def names(store: VoiceStore) -> set[str]:
    """The names of all voices."""
    return {voice["speaker_name"] for voice in store.list()}


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and what it holds, but for the lock, which holds nothing."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def write_plain_file(root: Path, voice_id: str, content: object, protocol: int = 4) -> None:
    """A voice's file as a program with nothing but ``gzip`` and ``pickle`` writes it."""
    folder = root / "embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / f"{voice_id}.pkl.gz", "wb") as file:
        pickle.dump(content, file, protocol)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "voice_embeddings"


@pytest.fixture
def store(root: Path) -> VoiceStore:
    """A store that looks at the volume each time, and does not wait for what is missing."""
    return VoiceStore(root, Timing(settle_s=0))
