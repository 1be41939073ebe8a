"""A store to damage, and what is left of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.voice_store.conftest import make_waveform
from voice_store import VoiceStore
from voice_store.health import check
from voice_store.live import Timing

NAMES = ["Amy", "小明", "Zoë 🎤", "محمد", "Ben", "Carla", "Dora"]
LONG_AGO_S = 3 * 24 * 3600


def fill(store: VoiceStore, root: Path) -> VoiceStore:
    """Seven voices; one was renamed, one is described."""
    for seed, name in enumerate(NAMES):
        store.put(make_waveform(seed), name, gender="female", tags=["a"])
    store.update(name="Dora", new_name="Dóra")
    store.update(name="Carla", description="warm, 温暖")
    age(root)
    return store


def age(root: Path, by_s: float = 3600) -> None:
    """All of it was written a while ago, as most damage is found."""
    then = time.time() - by_s
    for path in [root, *root.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)


def file_of(store: VoiceStore, root: Path, name: str) -> Path:
    return root / store.metadata(name=name)["embedding_file"]


def problems(root: Path) -> list[str]:
    return [str(problem) for problem in check(root).problems]


def digests(root: Path) -> dict[str, str]:
    store = VoiceStore(root, Timing(settle_s=0))
    return {voice["speaker_name"]: store.get(voice_id=voice["voice_id"]).digest for voice in store.list()}
