"""A store as it lies there, read without changing anything."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

from errors import StoreUnavailable, VoiceNotFound
from voice_store.files import Folder, volume_faults
from voice_store.folders import StoreFolders
from voice_store.indexes import Indexes
from voice_store.metadata import tidy_metadata
from voice_store.voice_file import StoredVoice


class ReadOnlyFolder(Folder):
    """As on a volume that is read-only: what would change it raises OSError."""

    def make(self) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def create(self, *_: object) -> NoReturn:
        self.make()

    def replace(self, *_: object, **__: object) -> NoReturn:
        self.make()

    def remove(self, *_: object) -> NoReturn:
        self.make()

    def move(self, *_: object) -> NoReturn:
        self.make()

    def touch(self, *_: object) -> NoReturn:
        self.make()

    def remove_older(self, *_: object) -> NoReturn:
        self.make()


class StoreReader:
    """The voices below ``root`` at this moment.

    A worker that reads makes indexes good, and finishes what others left unfinished; this does neither, and
    keeps no voice in memory. Raises StoreUnavailable where no store can be read.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise StoreUnavailable("there is no such store", hint="name its folder")
        self.folders = StoreFolders(root, ReadOnlyFolder)
        self.indexes = Indexes(self.folders)
        with volume_faults("reading the voices"):
            self.listing = self.folders.list()
            self.indexes.read(self.listing)
            self.library = self.indexes.library(self.listing)

    @property
    def voice_ids(self) -> list[str]:
        """The ids of all voices, damaged ones too, in order."""
        return sorted(self.listing.voice_ids)

    def metadata(self, voice_id: str) -> dict[str, Any]:
        """What is known about a voice of the listing; see ``VoiceStore.metadata``."""
        return self.library.voices.get(voice_id) or tidy_metadata(voice_id, self.indexes.entry(voice_id))

    def load(self, voice_id: str) -> StoredVoice:
        """Raises StoreCorrupt, StoreUnavailable, and VoiceNotFound when it has been removed meanwhile."""
        with volume_faults("reading the voice"):
            try:
                return self.folders.voices.load(voice_id)
            except FileNotFoundError as fault:
                raise VoiceNotFound(f"voice {voice_id} has just been removed") from fault
