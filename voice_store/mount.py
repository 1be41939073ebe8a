"""Whether the volume is still the one that the worker started with.

Where a mount was lost its folder is still there, empty: what is written into it ends with the worker, and
voices that are not found there are not gone.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path

from errors import StoreUnavailable
from voice_store.files import Folder, NotAPlainFileError

SENTINEL = ".voice-volume"
_MAX_SENTINEL_BYTES = 64


class AnyFolder:
    """Nothing is known of a mount: it is enough that the store's folder is there, or the one above it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def check(self) -> None:
        """Raises StoreUnavailable: no folder may take the place of a missing volume."""
        if not self._root.is_dir() and not self._root.parent.is_dir():
            raise StoreUnavailable("the volume with the voices is not mounted; attach it to the worker")


class Mount:
    """folder: where the volume is mounted. Made at the start, while it surely is.

    A sentinel file tells one volume from another. Device numbers do not: the next file system that is mounted
    may get the number of the last, and a network volume that comes back gets a new one.
    """

    def __init__(self, folder: Path) -> None:
        """Leaves the sentinel there, where it may write. Raises OSError when the folder is not there."""
        self._folder = Folder(folder, may_be_link=True)
        with suppress(OSError):  # a volume that can only be read: its device number has to do
            self._folder.create(SENTINEL, uuid.uuid4().hex.encode())
        self._sentinel = self._read_sentinel()
        self._device = folder.stat().st_dev

    def check(self) -> None:
        """Raises StoreUnavailable when the volume is not there, or another one is in its place."""
        found = self._read_sentinel()
        if found is not None and found == self._sentinel:
            return
        try:
            if found is not None or self._folder.path.stat().st_dev != self._device:
                raise _gone()
            if self._sentinel is not None:
                # Somebody has tidied up? An empty folder is no volume with voices.
                if not self._folder.names(of_all=True):
                    raise _gone()
                self._folder.create(SENTINEL, self._sentinel)
        except OSError as error:
            raise _gone() from error

    def _read_sentinel(self) -> bytes | None:
        try:
            return self._folder.read(SENTINEL, _MAX_SENTINEL_BYTES)
        except (OSError, NotAPlainFileError):
            return None


def _gone() -> StoreUnavailable:
    return StoreUnavailable(
        "the volume with the voices is not mounted any more", hint="attach it, or start a new worker"
    )
