"""Audio that no reply can hold, in a folder on the volume."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path

from voice_store.files import Folder
from voice_store.mount import Mount

SPILL_FOLDER = "audio_out"
# A folder in it. A file there has the name of an audio file that may be swept, and holds the hours after
# which: audio without such a mark is not swept, be it of before the setting or somebody else's.
MARKS_FOLDER = "expiring"

log = logging.getLogger(__name__)


def spill_folder(store_dir: Path, volume: Path) -> Path:
    """Returns the folder for audio on the same mount as the voice store: beside the store, or in it where the
    store is all of a mount.

    volume: where the platform mounts a network volume, be it mounted now or not.
    """
    beside = store_dir.parent
    try:
        is_own_mount = store_dir.is_mount() or store_dir.stat().st_dev != beside.stat().st_dev
    except OSError:  # made later, beside its folder
        is_own_mount = False
    return (store_dir if is_own_mount or store_dir == volume else beside) / SPILL_FOLDER


class Spill:
    """A folder of audio files on the volume. Methods raise OSError."""

    def __init__(self, folder: Path, mount: Mount | None = None, *, audio_retention_h: int = 0) -> None:
        """mount: of the volume that the folder is on; None where no volume is watched.

        audio_retention_h: hours after which audio written from now on may be swept; 0: it stays.
        """
        self.path = folder
        self.audio_retention_h = audio_retention_h
        self.files = Folder(folder)
        self.marks = Folder(folder / MARKS_FOLDER)
        self._mount = mount

    def check_mount(self) -> None:
        """Raises StoreUnavailable where the folder's volume is not mounted any more."""
        if self._mount is not None:
            self._mount.check()

    def write(self, name: str, data: bytes) -> Path:
        """Returns the file's path once it is complete and on the disk. Raises StoreUnavailable, too."""
        self._make()
        return self._replace(name, data)

    def write_audio(self, name: str, audio: bytes) -> Path:
        """Writes audio that is swept after ``audio_retention_h``; else as ``write``."""
        self._make()
        try:  # before the audio: a worker that is killed in between leaves no audio that would stay
            if self.audio_retention_h:
                self.marks.make()
                self.marks.replace(name, str(self.audio_retention_h).encode())
            else:
                self.marks.remove(name)  # of an earlier try, with another setting
        except OSError:
            log.warning("audio on the volume is not swept: it cannot be marked", exc_info=True)
        return self._replace(name, audio)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Returns a file's content. Raises FileNotFoundError, NotAPlainFileError."""
        return self.files.read(name, max_bytes)

    def renew(self, name: str) -> bool:
        """Returns whether there is a file of that name; its time until it is swept starts again."""
        if "/" in name:
            return False
        self.marks.touch(name)  # first: no sweep may take the mark for one whose audio is gone
        return self.files.touch(name)

    def _make(self) -> None:
        self.check_mount()
        if self._mount is not None:
            missing = [parent for parent in self.path.parents if not parent.exists()]
            for parent in reversed(missing):
                Folder(parent).make()
        # Without a watched mount no parent is made: where one is missing, the volume may not be mounted.
        self.files.make()

    def _replace(self, name: str, data: bytes) -> Path:
        self.files.replace(name, data)
        return self.path.resolve() / name

    @staticmethod
    def stem(job_id: str) -> str:
        """Returns a file name made of the id, so that a job which the platform repeats overwrites its file.

        Ids that are not plain file names get a part of their hash, so that no two share a file.
        """
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", job_id):
            return job_id
        digest = hashlib.sha256(job_id.encode("utf-8", "surrogatepass")).hexdigest()
        return re.sub(r"[^A-Za-z0-9_-]+", "_", job_id)[:60].strip("_") + "-" + digest[:16]
