"""Conditionals of voices: from memory, from the file beside a stored voice, else computed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from audio.waveform import Waveform
from cancel import CancelToken
from speech.contract import Conditionals, Synthesizer

MAX_CACHED_VOICES = 128  # about 0.4 MB each: the 10 s prompt's mel is most of it


class SidecarFiles(Protocol):
    """Files beside one stored voice, see ``voice_store.sidecars.SidecarFile``."""

    def read(self, key: str) -> bytes | None: ...

    def write(self, key: str, content: bytes) -> object: ...


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


class _Key(NamedTuple):
    of_model: str  # ``Synthesizer.conditionals_key``
    digest: str  # of the recording


@dataclass
class _Known:
    conditionals: Conditionals
    is_stored: bool  # beside a voice


class VoiceConditionals:
    """Conditionals of references, by whatever they depend on besides the recording. Thread-safe.

    Models that encode a voice alike share its conditionals. Jobs that need the same unknown voice at once
    compute it once; jobs in other voices do not wait for them.
    """

    def __init__(self, max_cached_voices: int = MAX_CACHED_VOICES) -> None:
        self._max_cached_voices = max_cached_voices
        self._cache: OrderedDict[_Key, _Known] = OrderedDict()  # the latest used last
        self._being_made: set[_Key] = set()
        self._changed = threading.Condition()  # guards the two above; never held while a voice is made

    def get(self, reference: Reference, synthesizer: Synthesizer, cancel: CancelToken) -> Conditionals:
        """Returns the conditionals of the recording for a model.

        Raises ReferenceTooShort, OutOfMemory, DeviceLost, Cancelled.
        """
        key = _Key(synthesizer.conditionals_key, reference.digest)
        known = self._known_or_reserved(key, cancel)
        if known is None:
            try:
                known = _read(reference, synthesizer) or _compute(reference, synthesizer, cancel)
                self._keep(key, known)
            finally:
                with self._changed:
                    self._being_made.discard(key)
                    self._changed.notify_all()
        if not known.is_stored:
            _store(reference, synthesizer, known)
        return known.conditionals

    def _known_or_reserved(self, key: _Key, cancel: CancelToken) -> _Known | None:
        """The cached conditionals; None when the caller has to make them, which others then wait for."""
        unregister = cancel.on_cancel(self._wake_waiters)
        try:
            with self._changed:
                self._changed.wait_for(lambda: key not in self._being_made or cancel.is_cancelled)
                cancel.raise_if_cancelled()
                known = self._cache.get(key)
                if known is None:
                    self._being_made.add(key)
                else:
                    self._cache.move_to_end(key)
                return known
        finally:
            unregister()

    def _wake_waiters(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _keep(self, key: _Key, known: _Known) -> None:
        with self._changed:
            self._cache[key] = known
            if len(self._cache) > self._max_cached_voices:
                self._cache.popitem(last=False)


def _read(reference: Reference, synthesizer: Synthesizer) -> _Known | None:
    if reference.files is None:
        return None
    content = reference.files.read(synthesizer.conditionals_key)
    found = content and synthesizer.read_conditionals(content, reference.digest)
    return _Known(found, is_stored=True) if found else None


def _compute(reference: Reference, synthesizer: Synthesizer, cancel: CancelToken) -> _Known:
    return _Known(synthesizer.encode_reference(reference.waveform, cancel), is_stored=False)


def _store(reference: Reference, synthesizer: Synthesizer, known: _Known) -> None:
    """Keeps computed conditionals beside the voice, for the next worker."""
    if reference.files is not None:
        known.is_stored = True
        content = known.conditionals.to_bytes(reference.digest)
        reference.files.write(synthesizer.conditionals_key, content)
