"""Reading files that anyone may have put there, and writing files that are either whole or absent.

The volume may be shared by many hosts, so nothing here relies on a lock: a new file appears by ``link``,
which never replaces, and an index is exchanged by ``rename``. Both happen within one folder, after the data
is on the disk.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from errors import StoreUnavailable

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class NotAPlainFileError(Exception):
    """A link, a pipe, a folder or a file of an absurd size lies where a small regular file belongs."""


@contextmanager
def volume_faults(doing: str) -> Iterator[None]:
    """Turns what the operating system says while ``doing`` something into StoreUnavailable."""
    try:
        yield
    except OSError as fault:
        if fault.errno in _FULL:
            advice = "the volume is full; remove voices or enlarge it, then try again"
        elif fault.errno in _FORBIDDEN:
            advice = "the volume does not allow it; make it readable and writable for the worker"
        else:
            advice = "the volume did not answer; check that it is mounted, then try again"
        raise StoreUnavailable(f"{doing} failed: {advice}") from fault


def read_plain_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file that is not a link.

    Raises NotAPlainFileError for anything else and for more than ``max_bytes``, and OSError. Never waits on
    a pipe.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as fault:
        if fault.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise NotAPlainFileError from fault
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
            raise NotAPlainFileError
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:  # it grew meanwhile
        raise NotAPlainFileError
    return data


def create_file(path: Path, data: bytes) -> bool:
    """Commits a new file; False, with nothing changed, where one of that name exists.

    True means that the file is whole and survives a crash. Raises OSError, with nothing left behind.
    """
    temporary = _write_temporary(path, data)
    try:
        created = _link(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    if created:
        try:
            _sync_folder(path.parent)
        except OSError:
            with suppress(OSError):
                path.unlink()
            raise
    return created


def replace_file(path: Path, data: bytes) -> None:
    """Exchanges a file for a new one at once. Raises OSError, with the old one in place."""
    temporary = _write_temporary(path, data)
    try:
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def remove_file(path: Path) -> None:
    """Removes a file for good; no complaint where there is none. Raises OSError."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Makes one folder, never its parents. Raises OSError."""
    if not path.is_dir():
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _write_temporary(path: Path, data: bytes) -> Path:
    # A random name: process ids and host names repeat among containers.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    return temporary


def _link(temporary: Path, path: Path) -> bool:
    try:
        path.hardlink_to(temporary)
    except OSError as fault:
        if temporary.stat().st_nlink == 2:  # made, though the answer got lost on the network
            return True
        if fault.errno == errno.EEXIST:
            return False
        if fault.errno not in _NO_LINKS:
            raise
        return _rename_onto_reservation(temporary, path)
    return True


def _rename_onto_reservation(temporary: Path, path: Path) -> bool:
    """For volumes without links: whoever creates the empty file owns the name, and fills it by rename."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    except FileExistsError:
        return False
    try:
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as fault:
        if fault.errno != errno.EINVAL:  # some network volumes have nothing to sync for a folder
            raise
    finally:
        os.close(descriptor)
