"""Whether the volume is still the one that the worker started with.

Where a mount was lost its folder is still there, empty: what is written into it ends with the worker, and
voices that are not found there are not gone.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from pathlib import Path

from errors import StoreUnavailable
from voice_store.files import Folder, NotAPlainFileError

log = logging.getLogger(__name__)

SENTINEL = ".voice-volume"
_MAX_SENTINEL_BYTES = 64


def missing_folder(root: Path) -> Path | None:
    """The folder that keeps a store from being made at ``root``; None if it is there or can be made.

    Where a link leads to, if nothing is there; else the folder above, if it is missing, unless a volume is
    mounted further up: no folder may take the place of a volume that is not mounted, but on one that is
    mounted the folders above the store's can be made.
    """
    if root.is_dir():
        return None
    for folder in (root, *root.parents):
        if folder.is_symlink() and not folder.exists():
            return folder.readlink() if folder.readlink().is_absolute() else folder.parent / folder.readlink()
    return None if root.parent.is_dir() or _is_on_mounted_volume(root) else root.parent


def check_folder(root: Path) -> None:
    """Raises StoreUnavailable when ``missing_folder`` gives one, and logs which."""
    missing = missing_folder(root)
    if missing is None:
        return
    log.warning("the folder %s is missing, so there can be no voices in %s", missing, root)
    if missing != root.parent:
        raise StoreUnavailable(
            "the folder that a link leads to, in the path of the voices, is missing",
            hint="make that folder, mount the volume that holds it, or remove the link",
        )
    raise StoreUnavailable("the volume with the voices is not mounted", hint="attach it to the worker")


def make_parents(root: Path) -> None:
    """Makes the folders above ``root`` that are missing. Raises OSError.

    Only for a root of which ``missing_folder`` gives None.
    """
    for folder in reversed([parent for parent in root.parents if not parent.is_dir()]):
        Folder(folder, may_be_link=True).make()


def _is_on_mounted_volume(path: Path) -> bool:
    """Whether the folder above that is there lies below a mount point other than the root."""
    path = next(parent for parent in path.absolute().parents if parent.is_dir()).resolve()
    return any(parent.is_mount() for parent in (path, *path.parents)[:-1])


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
