"""Files that a person names: only regular ones are read, and no more of them than was asked for."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from errors import InvalidRequest

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


@dataclass(frozen=True, slots=True)
class PlainFile:
    """A file, or a stretch of one, such as a member of a tar."""

    path: Path
    start: int = 0
    size: int | None = None  # in bytes; None: up to the end

    def read(self, max_bytes: int, field: str, hint: str | None = None) -> bytes:
        """Returns the bytes; a link to a file is followed.

        Never waits on a pipe. Raises InvalidRequest with ``field`` and ``hint`` for what is no regular file,
        is not there, holds more than ``max_bytes`` or ends too early.
        """
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(self.path, flags), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a device")
                    raise InvalidRequest(f"is {kind}, not a file", field=field, hint=hint)
                wanted = status.st_size if self.size is None else self.size
                if wanted > max_bytes:
                    raise InvalidRequest(f"is larger than {max_bytes / 2**20:g} MiB", field=field, hint=hint)
                file.seek(self.start)
                data = file.read(wanted)
        except OSError as error:
            raise InvalidRequest(f"cannot be opened: {reason(error)}", field=field, hint=hint) from error
        if len(data) < wanted:
            raise InvalidRequest("has no end: part of it is missing", field=field, hint=hint)
        return data


def reason(error: OSError) -> str:
    """Returns what the operating system says, as a part of a sentence."""
    return (error.strerror or "unknown error").lower()
