"""Conditionals of voices: from memory, from the file beside a stored voice, else computed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from audio.waveform import Waveform
from cancel import CancelToken
from speech.contract import Conditionals, Synthesizer

MAX_CACHED_VOICES = 128  # about 0.4 MB each: the 10 s prompt's mel is most of it


class SidecarFiles(Protocol):
    """Files beside one stored voice, see ``voice_store.shelves.Shelf``."""

    def read(self, key: str) -> bytes | None: ...

    def write(self, key: str, content: bytes) -> None: ...


@dataclass(frozen=True, eq=False)
class Reference:
    """The recording of a voice."""

    waveform: Waveform  # 24 kHz, as the model is to hear it
    digest: str  # ``waveform.digest()``
    files: SidecarFiles | None = None  # where its conditionals are kept; None: in memory alone

    @classmethod
    def of(cls, waveform: Waveform) -> Reference:
        """The reference of a recording that is not stored."""
        return cls(waveform, waveform.digest())


@dataclass
class _Known:
    conditionals: Conditionals
    is_stored: bool  # beside a voice


class VoiceConditionals:
    """Conditionals of references. Thread-safe.

    Jobs that need the same unknown voice at once compute it once; jobs in other voices do not wait for them.
    """

    def __init__(self, synthesizer: Synthesizer, max_cached_voices: int = MAX_CACHED_VOICES) -> None:
        self._synthesizer, self._max_cached_voices = synthesizer, max_cached_voices
        self._cache: OrderedDict[str, _Known] = OrderedDict()  # by digest, the latest used last
        self._being_made: set[str] = set()  # digests
        self._changed = threading.Condition()  # guards the two above; never held while a voice is made

    def get(self, reference: Reference, cancel: CancelToken) -> Conditionals:
        """Returns the conditionals of the recording.

        Raises ReferenceTooShort, OutOfMemory, DeviceLost, Cancelled.
        """
        known = self._known_or_reserved(reference.digest, cancel)
        if known is None:
            try:
                known = self._read(reference) or self._compute(reference, cancel)
                self._keep(reference.digest, known)
            finally:
                with self._changed:
                    self._being_made.discard(reference.digest)
                    self._changed.notify_all()
        if not known.is_stored:
            self._store(reference, known)
        return known.conditionals

    def _known_or_reserved(self, digest: str, cancel: CancelToken) -> _Known | None:
        """The cached conditionals; None when the caller has to make them, which others then wait for."""
        unregister = cancel.on_cancel(self._wake_waiters)
        try:
            with self._changed:
                self._changed.wait_for(lambda: digest not in self._being_made or cancel.is_cancelled)
                cancel.raise_if_cancelled()
                known = self._cache.get(digest)
                if known is None:
                    self._being_made.add(digest)
                else:
                    self._cache.move_to_end(digest)
                return known
        finally:
            unregister()

    def _wake_waiters(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _keep(self, digest: str, known: _Known) -> None:
        with self._changed:
            self._cache[digest] = known
            if len(self._cache) > self._max_cached_voices:
                self._cache.popitem(last=False)

    def _read(self, reference: Reference) -> _Known | None:
        if reference.files is None:
            return None
        content = reference.files.read(self._synthesizer.conditionals_key)
        found = content and self._synthesizer.read_conditionals(content, reference.digest)
        return _Known(found, is_stored=True) if found else None

    def _compute(self, reference: Reference, cancel: CancelToken) -> _Known:
        return _Known(self._synthesizer.encode_reference(reference.waveform, cancel), is_stored=False)

    def _store(self, reference: Reference, known: _Known) -> None:
        """Keeps computed conditionals beside the voice, for the next worker."""
        if reference.files is not None:
            known.is_stored = True
            content = known.conditionals.to_bytes(reference.digest)
            reference.files.write(self._synthesizer.conditionals_key, content)
