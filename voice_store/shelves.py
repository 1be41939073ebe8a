"""The folder ``conditionals/``: what models made of a voice, a file for each voice and key.

Opaque bytes that can be made again: losing them loses nothing but time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass

from voice_store.embeddings import Embeddings, is_voice_id
from voice_store.files import Folder, NotAPlainFileError

log = logging.getLogger(__name__)

MAX_BYTES = 2**23
KEY = re.compile(r"[a-z0-9-]{1,64}")
_NAME = re.compile(r"(.+)\.[a-z0-9-]{1,64}\.safetensors")


@dataclass(frozen=True, eq=False)
class Shelf:
    """One voice's. What cannot be read is not there, what cannot be written is not kept."""

    _folder: Folder
    _embeddings: Embeddings
    _voice_id: str

    def read(self, key: str) -> bytes | None:
        """The bytes as they were written, or as anyone else has changed them."""
        try:
            return self._folder.read(self._name(key), MAX_BYTES)
        except (OSError, NotAPlainFileError):
            return None

    def write(self, key: str, content: bytes) -> None:
        assert len(content) <= MAX_BYTES
        try:
            if self._embeddings.has(self._voice_id):  # else it has been deleted meanwhile
                self._folder.make()
                self._folder.replace(self._name(key), content)
                if not self._embeddings.has(self._voice_id):
                    self._folder.remove(self._name(key))
        except (OSError, NotAPlainFileError) as fault:
            log.warning("conditionals of voice %s not kept: %r", self._voice_id, fault)

    def _name(self, key: str) -> str:
        assert KEY.fullmatch(key), key
        return f"{self._voice_id}.{key}.safetensors"


class Shelves:
    def __init__(self, folder: Folder, embeddings: Embeddings) -> None:
        self.folder = folder
        self._embeddings = embeddings

    def of(self, voice_id: str) -> Shelf:
        return Shelf(self.folder, self._embeddings, voice_id)

    def forget(self, voice_id: str) -> None:
        """Removes what was made of a voice that is gone. Raises OSError."""
        for owner, name in self.files():
            if owner == voice_id:
                self.folder.remove(name)

    def owners(self) -> set[str]:
        """The ids of voices of which anything is here. Raises OSError."""
        return {owner for owner, _ in self.files()}

    def sweep(self, voice_ids: Collection[str], older_than_s: float) -> list[str]:
        """Removes what was made of other voices than these, and says which, by file name."""
        orphans = [name for owner, name in self.files() if owner not in voice_ids]
        return [
            name for name in orphans if self.folder.is_older(name, older_than_s) and self.folder.remove(name)
        ]

    def files(self) -> list[tuple[str, str]]:
        """The voice's id and the file's name, of each file. Raises OSError."""
        matches = (_NAME.fullmatch(name) for name in self.folder.names())
        return [(match[1], match[0]) for match in matches if match and is_voice_id(match[1])]
