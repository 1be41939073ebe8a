"""Voices as they are in memory, kept for as long as their files stay as they are."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from audio.waveform import Waveform
from voice_store.embeddings import Embeddings
from voice_store.files import Stamp


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
    """The voices that were used last, up to ``max_bytes`` of samples."""

    def __init__(self, embeddings: Embeddings, max_bytes: int) -> None:
        self._embeddings = embeddings
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[Stamp, LoadedVoice]] = OrderedDict()

    def load(self, voice_id: str) -> LoadedVoice:
        """Asks the volume for the file's stamp alone when the voice is known.

        Raises FileNotFoundError, other OSError, and StoreCorrupt for what is not the file of a voice.
        """
        stamp = self._embeddings.stamp(voice_id)
        there = self._kept.get(voice_id)
        if there is not None and there[0] == stamp:
            self._kept.move_to_end(voice_id)
            return there[1]
        self.drop(voice_id)
        stored = self._embeddings.load(voice_id)
        loaded = LoadedVoice.of(stored.waveform, stored.name)
        if stamp is not None:
            self._keep(voice_id, stamp, loaded)
        return loaded

    def drop(self, voice_id: str) -> None:
        """Forgets a voice."""
        there = self._kept.pop(voice_id, None)
        if there is not None:
            self._bytes -= there[1].waveform.samples.nbytes

    def _keep(self, voice_id: str, stamp: Stamp, loaded: LoadedVoice) -> None:
        self._kept[voice_id] = stamp, loaded
        self._bytes += loaded.waveform.samples.nbytes
        while self._bytes > self._max_bytes:
            self.drop(next(iter(self._kept)))
