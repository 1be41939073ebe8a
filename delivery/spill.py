"""The folder on the volume for audio that no reply can hold."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from voice_store.files import Folder
from voice_store.mount import Mount


class Spill:
    """folder: beside the voice store. mount: of the volume that both are on. Methods raise OSError."""

    def __init__(self, folder: Path, mount: Mount | None = None) -> None:
        self.path = folder
        self._folder, self._mount = Folder(folder), mount

    def write(self, name: str, data: bytes) -> Path:
        """The file, when it is whole and on the disk. Raises StoreUnavailable, too."""
        if self._mount is not None:
            self._mount.check()
        self._folder.make()  # not the one above: when that is missing, the volume is not mounted
        self._folder.replace(name, data)
        return self.path.resolve() / name

    def read(self, name: str, max_bytes: int) -> bytes:
        return self._folder.read(name, max_bytes)

    def has(self, name: str) -> bool:
        return "/" not in name and self._folder.has(name)

    @staticmethod
    def stem(job_id: str) -> str:
        """A name made of the id, so that a job which the platform repeats overwrites its own file.

        Ids that are not plain file names get a part of their hash: no two share a file.
        """
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", job_id):
            return job_id
        digest = hashlib.sha256(job_id.encode("utf-8", "surrogatepass")).hexdigest()
        return re.sub(r"[^A-Za-z0-9_-]+", "_", job_id)[:60].strip("_") + "-" + digest[:16]
