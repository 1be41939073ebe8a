"""The folder ``embeddings/``: one file a voice, and the only truth about which voices there are."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from errors import StoreCorrupt
from voice_store.codec import HEAD_BYTES, MAX_FILE_BYTES, StoredVoice, VoiceHeader, decode_voice, peek_voice
from voice_store.files import Folder, NotAPlainFileError, Stamp

log = logging.getLogger(__name__)

_SUFFIX = ".pkl.gz"
_VOICE_ID = re.compile(r"\w[\w.-]{0,99}")  # 8 hex digits, or what old programs made up; never a path
_MAX_ID_BYTES = 200  # file systems take 255, and the ending and a temporary's name come on top
_MAX_CANDIDATES = 1_000  # ids tried for one voice: the same recording under as many names
_SETTLED_AFTER_S = 2.0  # what was written this long ago is not being written any more


def is_voice_id(text: str) -> bool:
    """Whether a text may be the id of a voice, and thus part of a file name."""
    return _VOICE_ID.fullmatch(text) is not None and len(text.encode()) <= _MAX_ID_BYTES


def candidate_ids(digest: str) -> Iterator[str]:
    """8 hex digits each: the first of the audio's hash, then those of hashes derived from it."""
    yield digest[:8]
    for attempt in range(1, _MAX_CANDIDATES):
        yield hashlib.sha256(f"{digest}:{attempt}".encode()).hexdigest()[:8]


class Embeddings:
    """The voices' files. Every method may raise OSError; ids must have passed ``is_voice_id``."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._ids: set[str] = set()  # as of the last listing
        self._damaged: dict[str, tuple[Stamp, StoreCorrupt]] = {}  # so that none costs its decoding twice

    def list_ids(self) -> list[str]:
        """The ids of all voices, damaged ones too, in order; links and pipes are none."""
        ids = {name.removesuffix(_SUFFIX) for name in self.folder.names() if name.endswith(_SUFFIX)}
        # Most of them were looked at before.
        self._ids = {voice_id for voice_id in ids if voice_id in self._ids or is_voice_id(voice_id)}
        return sorted(self._ids)

    def load(self, voice_id: str) -> StoredVoice:
        """Raises FileNotFoundError, and StoreCorrupt for what is not the file of a voice."""
        stamp = self.stamp(voice_id)
        known_stamp, verdict = self._damaged.get(voice_id, (None, None))
        if verdict is not None and stamp == known_stamp:
            raise StoreCorrupt.of(verdict.problems) from verdict.__cause__
        try:
            return decode_voice(self._read(voice_id), voice_id)
        except StoreCorrupt as verdict:
            # A file that changed a moment ago may be half written by an older program.
            if stamp is not None and stamp.mtime_ns / 1e9 < time.time() - _SETTLED_AFTER_S:
                log.warning("voice %s cannot be read: %r", voice_id, verdict)
                self._damaged[voice_id] = stamp, verdict
            raise

    def peek(self, voice_id: str) -> VoiceHeader:
        """What the file says besides the samples, without reading them where it is one of ours.

        Raises as ``load``; but of a file of ours, damage behind its head is not noticed.
        """
        with _plain_file_of(voice_id):
            header = peek_voice(self.folder.read_head(self.file_name(voice_id), HEAD_BYTES))
        return header or VoiceHeader.of(self.load(voice_id))

    def modified_at(self, voice_id: str) -> datetime:
        stamp = self.stamp(voice_id)
        return datetime.fromtimestamp(stamp.mtime_ns / 1e9 if stamp else 0, UTC)

    def stamp(self, voice_id: str) -> Stamp | None:
        """Differs when the file has been exchanged or written to; None where there is none."""
        return self.folder.stamp_of(self.file_name(voice_id))

    def add(self, voice_id: str, data: bytes, before: Callable[[Stamp], None] | None = None) -> bool:
        """Commits the bytes of a voice; False, with nothing changed, where that id is taken.

        before: see ``Folder.create``.
        """
        return self.folder.create(self.file_name(voice_id), data, before)

    def has(self, voice_id: str) -> bool:
        """Whether an id is taken, be it by a voice or by what is none."""
        return self.folder.has(self.file_name(voice_id))

    def remove(self, voice_id: str) -> bool:
        """False where there was nothing."""
        return self.folder.remove(self.file_name(voice_id))

    @staticmethod
    def file_name(voice_id: str) -> str:
        return f"{voice_id}{_SUFFIX}"

    def _read(self, voice_id: str) -> bytes:
        with _plain_file_of(voice_id):
            return self.folder.read(self.file_name(voice_id), MAX_FILE_BYTES)


@contextmanager
def _plain_file_of(voice_id: str) -> Iterator[None]:
    try:
        yield
    except NotAPlainFileError as fault:
        raise StoreCorrupt(
            f"the file of voice {voice_id} is a link, a pipe or far too large", hint="remove the voice"
        ) from fault
