"""The files in a tar that a stranger may have made, found without extracting anything.

The walk is our own: ``tarfile`` reads headers of any length into memory, follows a chain of them as deep as
it goes, and turns in circles on a negative size.
"""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

MAX_MEMBERS = 400_000  # twice as many files as any store has voices

_CUT_OFF = "its end is missing; what comes before has been read"
_BLOCK = tarfile.BLOCKSIZE
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
# Folders; and what says more about the member that follows, which nothing that was exported needs.
_OF_NO_INTEREST = (
    tarfile.DIRTYPE,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


@dataclass(frozen=True)
class Member:
    """Where the bytes of a file lie in the tar."""

    start: int
    size: int


@dataclass
class Members:
    """files: by name; of two that have one, the later, as tar does it. is_whole: whether none is missing.

    faults: sentences about what is not as an export leaves it.
    """

    files: dict[str, Member] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    is_whole: bool = True

    def break_off(self, fault: str) -> None:
        self.faults.append(fault)
        self.is_whole = False


def find_members(path: Path) -> Members:
    """All regular files of a tar, up to the first place where it is damaged. Raises OSError."""
    members = Members()
    refused = 0
    with path.open("rb") as file:
        if file.read(6).startswith(_COMPRESSED):
            members.break_off("it is compressed; unpack it first, to a tar or a folder")
            return members
        file.seek(0)
        for _ in range(MAX_MEMBERS):
            try:
                header = _read_header(file)
            except ValueError as fault:
                members.break_off(str(fault) if members.files else "it is damaged, or is no tar")
                break
            if header is None:
                break
            start = file.tell()
            name = header.name.removeprefix("./")
            if header.type in _FILES and ".." not in PurePosixPath(name).parts and not name.startswith("/"):
                members.files[name] = Member(start, header.size)
            elif header.type not in _OF_NO_INTEREST:
                refused += 1
            file.seek(start + -(-header.size // _BLOCK) * _BLOCK)
        else:
            members.break_off(f"only its first {MAX_MEMBERS:,} files were looked at")
    if refused:
        members.faults.append(f"{refused} links, devices or paths that lead out of it were left out")
    return members


def _read_header(file: BinaryIO) -> tarfile.TarInfo | None:
    """None at the end of the tar. Raises ValueError where there is neither that nor a whole file."""
    block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        raise ValueError(_CUT_OFF)
    if not any(block):
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as fault:
        raise ValueError("it is damaged in the middle; what comes before has been read") from fault
    if header.size < 0:
        raise ValueError("it is damaged: a file in it has a negative size; what comes before has been read")
    if header.size > os.fstat(file.fileno()).st_size - file.tell():
        raise ValueError(_CUT_OFF)
    return header
