"""The folder ``previews/``: a sentence in a voice, as a FLAC file for each voice that has one kept."""

from __future__ import annotations

import logging
from collections.abc import Collection

from voice_store.embeddings import Embeddings, is_voice_id
from voice_store.files import Folder, NotAPlainFileError

log = logging.getLogger(__name__)

MAX_BYTES = 2**23  # 300 characters are some 20 s, and a second has at most 48 kB
_SUFFIX = ".flac"


class Previews:
    """Previews of voices. What cannot be read is not there."""

    def __init__(self, folder: Folder, embeddings: Embeddings) -> None:
        self.folder = folder
        self._embeddings = embeddings

    def read(self, voice_id: str) -> bytes | None:
        """Returns the preview of a voice; None where there is none."""
        try:
            return self.folder.read(voice_id + _SUFFIX, MAX_BYTES)
        except (OSError, NotAPlainFileError):
            return None

    def put(self, voice_id: str, content: bytes) -> bool:
        """Keeps the preview of a voice in place of a former one; returns False when it cannot be kept."""
        name = voice_id + _SUFFIX
        if len(content) > MAX_BYTES:
            return False
        try:
            if not self._embeddings.has(voice_id):
                return False
            self.folder.make()
            self.folder.replace(name, content)
            if self._embeddings.has(voice_id):
                return True
            self.folder.remove(name)  # the voice has been deleted meanwhile
        except (OSError, NotAPlainFileError) as fault:
            log.warning("the preview of voice %s is not kept: %r", voice_id, fault)
        return False

    def forget(self, voice_id: str) -> None:
        """Removes the preview of a voice that is gone. Raises OSError."""
        self.folder.remove(voice_id + _SUFFIX)

    def owners(self) -> set[str]:
        """Returns the ids of voices of which a preview is here. Raises OSError."""
        names = (name for name in self.folder.names() if name.endswith(_SUFFIX))
        return {owner for name in names if is_voice_id(owner := name.removesuffix(_SUFFIX))}

    def sweep(self, voice_ids: Collection[str], older_than_s: float) -> list[str]:
        """Removes old previews of other voices than these; returns the names of their files."""
        orphans = [owner + _SUFFIX for owner in sorted(self.owners().difference(voice_ids))]
        return [
            name for name in orphans if self.folder.is_older(name, older_than_s) and self.folder.remove(name)
        ]
