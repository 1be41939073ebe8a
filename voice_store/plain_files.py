"""Files that a person names: only regular ones are read, and no more of them than was asked for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

RECORDING_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class UnreadableFileError(Exception):
    """What keeps a file from being read: its text is the predicate of a sentence about the file."""


def read_plain_file(path: Path, max_bytes: int, start: int = 0, size: int | None = None) -> bytes:
    """The ``size`` bytes from ``start`` on, by default all; a link to a file is followed.

    Never waits on a pipe. Raises UnreadableFileError for what is no regular file, is not there, holds more
    than ``max_bytes`` or ends too early.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a device")
                raise UnreadableFileError(f"is {kind}, not a file")
            wanted = status.st_size if size is None else size
            if wanted > max_bytes:
                raise UnreadableFileError(f"is larger than {max_bytes / 2**20:g} MiB")
            file.seek(start)
            data = b"".join(_read(file.fileno(), wanted))
    except OSError as fault:
        raise UnreadableFileError(f"cannot be opened: {reason(fault)}") from fault
    if len(data) < wanted:
        raise UnreadableFileError("has no end: part of it is missing")
    return data


def find_recordings(path: Path) -> list[Path]:
    """The path itself unless it is a folder, else the recordings below that, in order of their paths.

    Folders that are links are not entered. Raises OSError for a folder that cannot be listed.
    """
    if not path.is_dir():
        return [path]
    found = (file for file in _files_below(path) if file.suffix.lower() in RECORDING_SUFFIXES)
    return sorted(found)


def reason(fault: OSError) -> str:
    """What the operating system says, as a part of a sentence."""
    return (fault.strerror or "unknown error").lower()


def _files_below(folder: Path) -> Iterator[Path]:
    def stop(fault: OSError) -> None:
        raise fault

    for parent, _, names in os.walk(folder, onerror=stop):
        # Other programs' hidden files are none: macOS puts a "._x.wav" beside each x.wav on foreign disks.
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _read(file: int, count: int) -> Iterator[bytes]:
    while count > 0 and (part := os.read(file, min(count, 2**24))):
        yield part
        count -= len(part)
