"""Audio that no reply can hold, in a folder on the volume."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from voice_store.files import Folder
from voice_store.mount import Mount

SPILL_FOLDER = "audio_out"


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

    def __init__(self, folder: Path, mount: Mount | None = None) -> None:
        """mount: of the volume that the folder is on; None where no volume is watched."""
        self.path = folder
        self._folder, self._mount = Folder(folder), mount

    def write(self, name: str, data: bytes) -> Path:
        """Returns the file's path once it is complete and on the disk. Raises StoreUnavailable, too."""
        if self._mount is not None:
            self._mount.check()
            missing = [parent for parent in self.path.parents if not parent.exists()]
            for parent in reversed(missing):
                Folder(parent).make()
        # Without a watched mount no parent is made: where one is missing, the volume may not be mounted.
        self._folder.make()
        self._folder.replace(name, data)
        return self.path.resolve() / name

    def read(self, name: str, max_bytes: int) -> bytes:
        """Returns a file's content. Raises FileNotFoundError, NotAPlainFileError."""
        return self._folder.read(name, max_bytes)

    def has(self, name: str) -> bool:
        """Returns whether there is a file of that name."""
        return "/" not in name and self._folder.has(name)

    @staticmethod
    def stem(job_id: str) -> str:
        """Returns a file name made of the id, so that a job which the platform repeats overwrites its file.

        Ids that are not plain file names get a part of their hash, so that no two share a file.
        """
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", job_id):
            return job_id
        digest = hashlib.sha256(job_id.encode("utf-8", "surrogatepass")).hexdigest()
        return re.sub(r"[^A-Za-z0-9_-]+", "_", job_id)[:60].strip("_") + "-" + digest[:16]
