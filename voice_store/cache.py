"""Voices as they are in memory, for as long as their files stay as they are."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass

from cachetools import LRUCache

from audio.waveform import Waveform
from voice_store.files import Stamp
from voice_store.folders import VoiceFiles


@dataclass(frozen=True, eq=False)
class LoadedVoice:
    """waveform: at 24 kHz, its samples read-only. digest: the waveform's. name: None if the file has none."""

    waveform: Waveform
    digest: str
    name: str | None

    @classmethod
    def of(cls, waveform: Waveform, name: str | None) -> LoadedVoice:
        samples = waveform.samples.view()
        samples.flags.writeable = False
        return cls(Waveform(samples, waveform.sample_rate_hz), waveform.digest(), name)


class VoiceCache:
    """The voices that were used last, up to ``max_bytes`` of samples. Any thread may use it."""

    def __init__(self, voices: VoiceFiles, max_bytes: int) -> None:
        self._voices = voices
        self._lock = threading.Lock()
        self._loaded: LRUCache[str, tuple[Stamp, LoadedVoice]] = LRUCache(
            max_bytes, getsizeof=lambda item: item[1].waveform.samples.nbytes
        )

    def load(self, voice_id: str) -> LoadedVoice:
        """Asks the volume for the file's stamp alone when the voice is known.

        Raises FileNotFoundError, other OSError, and StoreCorrupt for what is not the file of a voice.
        """
        stamp = self._voices.stamp(voice_id)
        with self._lock:
            there = self._loaded.get(voice_id)
        if there is not None and there[0] == stamp:
            return there[1]
        self.drop(voice_id)
        stored = self._voices.load(voice_id)
        loaded = LoadedVoice.of(stored.waveform, stored.name)
        if stamp is not None:
            with self._lock, suppress(ValueError):  # larger than all that may be kept
                self._loaded[voice_id] = stamp, loaded
        return loaded

    def drop(self, voice_id: str) -> None:
        """Removes a voice from memory."""
        with self._lock:
            self._loaded.pop(voice_id, None)
