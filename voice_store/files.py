"""One folder of the store: reading what anyone may have put there, writing what is either whole or absent.

The volume may be shared by many hosts, so nothing here relies on a lock: a new file appears by ``link``,
which never replaces, and an index is exchanged by ``rename``. Both happen within one folder, after the data
is on the disk.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from errors import StoreUnavailable

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # what a volume without space answers
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NOT_A_FOLDER = frozenset({errno.ENOTDIR, errno.ELOOP})
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
_READ = os.O_RDONLY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class NotAPlainFileError(Exception):
    """A link, a pipe, a folder or a file of an absurd size lies where a small regular file belongs."""


@dataclass(frozen=True)
class Stamp:
    """What differs whenever a file or a folder has been changed: its inode, size and time of change."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_ino, status.st_size, status.st_mtime_ns)


@contextmanager
def volume_faults(doing: str) -> Iterator[None]:
    """Turns what the operating system says while ``doing`` something into StoreUnavailable."""
    try:
        yield
    except OSError as fault:
        if fault.errno in FULL:
            what, hint = "the volume is full", "remove voices or enlarge it, then try again"
        elif fault.errno in _FORBIDDEN:
            what, hint = "the volume does not allow it", "make it readable and writable for the worker"
        elif fault.errno in _NOT_A_FOLDER:
            what, hint = "a file or a link lies where the store needs a folder", "put a folder in its place"
        else:
            what, hint = "the volume did not answer", "check that it is mounted, then try again"
        raise StoreUnavailable(f"{doing} failed: {what}", hint=hint) from fault


class Folder:
    """The files right in one folder, by name. Nothing here follows a link out of it.

    may_be_link: whether the folder's own path may be one, as an operator may have set up the store's.
    Every method may raise OSError; names must hold no slash.
    """

    def __init__(self, path: Path, *, may_be_link: bool = False) -> None:
        self.path = path
        self._flags = _READ | os.O_DIRECTORY | (0 if may_be_link else os.O_NOFOLLOW)

    def make(self) -> None:
        """Makes the folder, never those above it."""
        with suppress(FileNotFoundError), self._opened():
            return
        with suppress(FileExistsError):
            self.path.mkdir()
        with self._opened():  # nobody has put a link in its place meanwhile
            Folder(self.path.parent, may_be_link=True).sync()

    def stamp(self) -> Stamp | None:
        """Differs when a file has come, gone or been exchanged; None where there is no folder."""
        try:
            # Opened, not only asked by name: a network file system then asks its server.
            with self._opened() as folder:
                return Stamp.of(os.fstat(folder))
        except FileNotFoundError:
            return None

    def names(self, *, of_all: bool = False) -> list[str]:
        """Of the regular files, or of all that is there; none where there is no folder."""
        try:
            with self._opened() as folder, os.scandir(folder) as found:
                return [item.name for item in found if of_all or item.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def has(self, name: str) -> bool:
        """Whether anything is there under that name, be it a file or not."""
        return self._status(name) is not None

    def stamp_of(self, name: str) -> Stamp | None:
        """None where there is nothing."""
        status = self._status(name)
        return None if status is None else Stamp.of(status)

    def read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of a regular file that is not a link.

        Raises NotAPlainFileError for anything else and for more than ``max_bytes``, and FileNotFoundError.
        Never waits on a pipe.
        """
        with self._opened_plain_file(name) as file:
            if os.fstat(file).st_size > max_bytes:
                raise NotAPlainFileError
            data = _read(file, max_bytes + 1)
        if len(data) > max_bytes:  # it grew meanwhile
            raise NotAPlainFileError
        return data

    def read_head(self, name: str, max_bytes: int) -> bytes:
        """The first bytes of a regular file, else as ``read``."""
        with self._opened_plain_file(name) as file:
            return _read(file, max_bytes)

    def create(self, name: str, data: bytes) -> bool:
        """Commits a new file; False, with nothing changed, where one of that name exists.

        True means that the file is whole and survives a crash. After OSError it is either not there or whole:
        where only the folder could not be synced it stays, since others may have seen it.
        """
        with self._opened() as folder:
            temporary, _ = _write_temporary(folder, name, data)
            try:
                created = _link(folder, temporary, name)
            finally:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
            if created:
                _sync(folder)
        return created

    def replace(self, name: str, data: bytes, *, is_synced: bool = True) -> Stamp:
        """Exchanges a file for a new one at once. OSError leaves the old one in place.

        is_synced: whether it survives a crash of the machine once this returns; else it may be torn then.
        """
        with self._opened() as folder:
            temporary, stamp = _write_temporary(folder, name, data, is_synced=is_synced)
            try:
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            if is_synced:
                _sync(folder)
        return stamp

    def remove(self, name: str) -> bool:
        """Removes a file for good; False where there was none."""
        try:
            with self._opened() as folder:
                os.unlink(name, dir_fd=folder)
                _sync(folder)
        except FileNotFoundError:
            return False
        return True

    def move(self, name: str, other: Folder, other_name: str) -> None:
        """Puts a file, or what else lies under that name, into another folder of the volume."""
        with self._opened() as folder, other._opened() as target:
            os.rename(name, other_name, src_dir_fd=folder, dst_dir_fd=target)
            _sync(target)
            _sync(folder)

    def sync(self) -> None:
        """Makes what came and went survive a crash."""
        with self._opened() as folder:
            _sync(folder)

    def touch(self, name: str) -> bool:
        """Makes a regular file count as written just now; False where there is none.

        On a volume that can only be read the file stays as it is.
        """
        try:
            with self._opened() as folder:
                if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    return False
                os.utime(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as fault:
            if fault.errno not in _FORBIDDEN:
                raise
        return True

    def remove_older(self, name: str, age_s: float) -> bool:
        """Removes a regular file that was last written to longer ago; False where there is none.

        A file that another process replaces or touches at the same time stays: it is renamed, looked at
        again, and put back under its name.
        """
        try:
            with self._opened() as folder:
                if not _is_older_file(folder, name, age_s):
                    return False
                taken = f".{name}.{uuid.uuid4().hex}.tmp"
                os.rename(name, taken, src_dir_fd=folder, dst_dir_fd=folder)
                is_due = _is_older_file(folder, taken, age_s)
                if not is_due:
                    _link(folder, taken, name)  # unless there is a new one by now
                os.unlink(taken, dir_fd=folder)
                _sync(folder)
        except FileNotFoundError:  # another process was faster
            return False
        return is_due

    def leftovers(self, older_than_s: float) -> list[str]:
        """Temporary files of writers that died."""
        temporary = (name for name in self.names() if _TEMPORARY.fullmatch(name))
        return [name for name in temporary if self.is_older(name, older_than_s)]

    def is_fresh(self, name: str, age_s: float) -> bool:
        """Whether a file was last written to less than so long ago; not if that is in the future."""
        status = self._status(name)
        return status is not None and abs(status.st_mtime - time.time()) < age_s

    def is_older(self, name: str, age_s: float) -> bool:
        """Whether a file is there and was last written to longer ago."""
        status = self._status(name)
        return status is not None and status.st_mtime < time.time() - age_s

    def _status(self, name: str) -> os.stat_result | None:
        try:
            return (self.path / name).lstat()
        except FileNotFoundError:
            return None

    @contextmanager
    def _opened(self) -> Iterator[int]:
        descriptor = os.open(self.path, self._flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _opened_plain_file(self, name: str) -> Iterator[int]:
        with self._opened() as folder:
            try:
                file = os.open(name, _READ | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            except OSError as fault:
                if fault.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
                    raise NotAPlainFileError from fault
                raise
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise NotAPlainFileError
            yield file
        finally:
            os.close(file)


def _is_older_file(folder: int, name: str, age_s: float) -> bool:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return stat.S_ISREG(status.st_mode) and status.st_mtime < time.time() - age_s


def _read(file: int, max_bytes: int) -> bytes:
    with os.fdopen(file, "rb", buffering=0, closefd=False) as reader:
        parts = []
        while max_bytes > 0 and (part := reader.read(min(max_bytes, 2**24))):
            parts.append(part)
            max_bytes -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write_temporary(folder: int, name: str, data: bytes, *, is_synced: bool = True) -> tuple[str, Stamp]:
    # A random name: process ids and host names repeat among containers.
    temporary = f".{name}.{uuid.uuid4().hex}.tmp"
    file = os.open(temporary, _CREATE, 0o666, dir_fd=folder)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
            if is_synced:
                os.fsync(file)
            stamp = Stamp.of(os.fstat(file))
        finally:
            os.close(file)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    return temporary, stamp


def _link(folder: int, temporary: str, name: str) -> bool:
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as fault:
        if _is_same_file(folder, temporary, name):  # made, though the answer got lost on the network
            return True
        if fault.errno == errno.EEXIST:
            return False
        if fault.errno not in _NO_LINKS:
            raise
        return _rename_onto_reservation(folder, temporary, name)
    return True


def _is_same_file(folder: int, name: str, other: str) -> bool:
    try:
        return os.path.samestat(
            os.stat(name, dir_fd=folder), os.stat(other, dir_fd=folder, follow_symlinks=False)
        )
    except FileNotFoundError:
        return False


def _rename_onto_reservation(folder: int, temporary: str, name: str) -> bool:
    """For volumes without links: whoever creates the empty file owns the name, and fills it by rename."""
    try:
        os.close(os.open(name, _CREATE, 0o666, dir_fd=folder))
    except FileExistsError:
        return False
    try:
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
    return True


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as fault:
        if fault.errno != errno.EINVAL:  # some network volumes have nothing to sync for a folder
            raise
