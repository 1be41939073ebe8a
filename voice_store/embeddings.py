"""The folder ``embeddings/``: one file a voice, and the only truth about which voices there are."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from errors import StoreCorrupt
from voice_store.codec import MAX_FILE_BYTES, StoredVoice, decode_voice
from voice_store.files import NotAPlainFileError, create_file, read_plain_file, remove_file
from voice_store.names import fold_name

_SUFFIX = ".pkl.gz"
_VOICE_ID = re.compile(r"\w[\w.-]{0,99}")  # 8 hex digits, or what old programs made up; never a path
_MAX_ID_BYTES = 200  # file systems take 255, and the ending and a temporary's name come on top
_MAX_CANDIDATES = 1_000  # ids tried for one voice: the same recording under as many names


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

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list_ids(self) -> list[str]:
        """The ids of all voices, damaged ones too, in order; links and pipes are none."""
        try:
            with os.scandir(self._folder) as found:
                names = [item.name for item in found if item.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        ids = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
        return sorted(voice_id for voice_id in ids if is_voice_id(voice_id))

    def load(self, voice_id: str) -> StoredVoice:
        """Raises FileNotFoundError, and StoreCorrupt for what is not the file of a voice."""
        try:
            data = read_plain_file(self.path(voice_id), MAX_FILE_BYTES)
        except NotAPlainFileError as fault:
            raise StoreCorrupt(
                f"the file of voice {voice_id} is a link, a pipe or far too large; remove the voice"
            ) from fault
        return decode_voice(data, voice_id)

    def modified_at(self, voice_id: str) -> datetime:
        return datetime.fromtimestamp(self.path(voice_id).lstat().st_mtime, UTC)

    def add(self, voice_id: str, data: bytes) -> bool:
        """Commits the bytes of a voice; False, with nothing changed, where that id is taken."""
        return create_file(self.path(voice_id), data)

    def has(self, voice_id: str) -> bool:
        """Whether an id is taken, be it by a voice or by what is none."""
        return os.path.lexists(self.path(voice_id))

    def holds(self, voice_id: str, digest: str, name: str) -> bool:
        """Whether the voice of that id is of the same audio and name."""
        try:
            stored = self.load(voice_id)
        except (StoreCorrupt, FileNotFoundError):
            return False
        return stored.waveform.digest() == digest and fold_name(stored.name or "") == fold_name(name)

    def remove(self, voice_id: str) -> None:
        """Raises FileNotFoundError."""
        self.path(voice_id).lstat()
        remove_file(self.path(voice_id))

    def path(self, voice_id: str) -> Path:
        """Where the voice's file lies, or would."""
        return self._folder / f"{voice_id}{_SUFFIX}"
