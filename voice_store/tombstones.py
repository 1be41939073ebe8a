"""The folder ``deleted/``: which voices were removed on request.

    deleted/<id>.pending.json             the voice is deleted, though its file may still be there
    deleted/<id>.<other>.replaced.json    it is deleted once the other voice, which takes its name, is there
    deleted/<id>.json                     its file is gone; kept to answer a request that comes twice

A tombstone is written before the file is removed, so a worker that is killed in between has deleted the voice
all the same. It is about the very file that it was written for: what another program stores under the id
later is another voice.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from voice_store.embeddings import is_voice_id
from voice_store.files import Folder, Stamp
from voice_store.json_files import read_object, to_json
from voice_store.metadata import now
from voice_store.names import fold_name, readable

KEPT_FOR_S = 30 * 24 * 3600.0
MAX_TOMBSTONE_BYTES = 2**16

_PENDING = ".pending.json"
_REPLACED = ".replaced.json"
_DONE = ".json"

StampOf = Callable[[str], Stamp | None]


@dataclass(frozen=True)
class FileMark:
    """Which file of a voice. Not by its inode: network file systems may make one up for each host."""

    voice_id: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, voice_id: str, stamp: Stamp) -> FileMark:
        return cls(voice_id, stamp.size, stamp.mtime_ns)

    def is_there(self, stamp_of: StampOf) -> bool:
        stamp = stamp_of(self.voice_id)
        return stamp is not None and FileMark.of(self.voice_id, stamp) == self


@dataclass(frozen=True)
class Tombstone:
    """name: what the voice was called. successor: without whose file this does not count; None: it does."""

    voice: FileMark
    name: str
    deleted_at: str
    successor: FileMark | None = None

    @property
    def voice_id(self) -> str:
        return self.voice.voice_id

    @property
    def file_name(self) -> str:
        """Where it lies while the voice's file may still be there."""
        return _file_name(self)

    def hides(self, stamp_of: StampOf) -> bool:
        """Whether it is about the file that is there now. stamp_of: of the files of voices, by id."""
        return self.voice.is_there(stamp_of) and (self.successor is None or self.successor.is_there(stamp_of))


class Tombstones:
    """Every method may raise OSError; ids must have passed ``is_voice_id``."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def list(self) -> tuple[builtins.list[Tombstone], set[str]]:
        """Those whose voice's file may still be there, and the ids of the others."""
        pending, done = [], set()
        for name in self.folder.names():
            if name.endswith((_PENDING, _REPLACED)):
                if (tombstone := self._read(name)) is not None:
                    pending.append(tombstone)
            elif name.endswith(_DONE) and is_voice_id(name.removesuffix(_DONE)):
                done.add(name.removesuffix(_DONE))
        return pending, done

    def has(self, voice_id: str) -> bool:
        """Whether a voice of that id has been deleted."""
        return self.folder.has(voice_id + _PENDING) or self.folder.has(voice_id + _DONE)

    def bury(self, voice_id: str, name: str, stamp: Stamp) -> None:
        """Commits that the voice in the file with this stamp is deleted."""
        self._write(Tombstone(FileMark.of(voice_id, stamp), name, now()))

    def promise(self, voice_id: str, name: str, stamp: Stamp, successor_id: str, successor: Stamp) -> None:
        """Commits that the voice is deleted as soon as the file of its successor is there."""
        marks = FileMark.of(voice_id, stamp), FileMark.of(successor_id, successor)
        self._write(Tombstone(marks[0], name, now(), marks[1]))

    def withdraw(self, voice_id: str, successor_id: str) -> None:
        """Takes a promise back, since the successor did not come."""
        self.folder.remove(f"{voice_id}.{successor_id}{_REPLACED}")

    def settle(self, tombstone: Tombstone) -> None:
        """Notes that nothing is left of the voice."""
        self.folder.move(_file_name(tombstone), self.folder, tombstone.voice_id + _DONE)

    def find(self, *, name: str | None, voice_id: str | None) -> Tombstone | None:
        """That of a deleted voice by its id, or the latest by its name."""
        files = self.folder.names() if voice_id is None else [voice_id + _DONE, voice_id + _PENDING]
        tombstones = (self._read(file) for file in files if not file.endswith(_REPLACED))
        found = [
            tombstone
            for tombstone in tombstones
            if tombstone and (name is None or fold_name(tombstone.name) == fold_name(name))
        ]
        return max(found, key=lambda tombstone: tombstone.deleted_at, default=None)

    def sweep(self, stamp_of: StampOf, pending_after_s: float) -> builtins.list[str]:
        """Removes those that are old enough for no request to come back, and says which, by file name.

        pending_after_s: what is pending for longer, and hides nothing, was left by a worker that died.
        """
        pending, done = self.list()
        for tombstone in pending:
            if tombstone.hides(stamp_of) or not self.folder.is_older(_file_name(tombstone), pending_after_s):
                continue
            if tombstone.successor is not None and tombstone.voice.is_there(stamp_of):
                self.withdraw(tombstone.voice_id, tombstone.successor.voice_id)
            else:
                self.settle(tombstone)
        files = (voice_id + _DONE for voice_id in done)
        return [file for file in files if self.folder.is_older(file, KEPT_FOR_S) and self.folder.remove(file)]

    def _write(self, tombstone: Tombstone) -> None:
        self.folder.make()
        self.folder.replace(_file_name(tombstone), to_json(asdict(tombstone)))

    def _read(self, file: str) -> Tombstone | None:
        content = read_object(self.folder, file, MAX_TOMBSTONE_BYTES, is_ours=True)
        voice = _mark(content.get("voice"))
        if voice is None:
            return None
        successor = content.get("successor")
        tombstone = Tombstone(
            voice, readable(content.get("name")), readable(content.get("deleted_at")), _mark(successor)
        )
        # A file that says something else than its name is not one of ours.
        names = (_file_name(tombstone), voice.voice_id + _DONE)
        return tombstone if file in names and (successor is None) == (tombstone.successor is None) else None


def _file_name(tombstone: Tombstone) -> str:
    if tombstone.successor is None:
        return tombstone.voice_id + _PENDING
    return f"{tombstone.voice_id}.{tombstone.successor.voice_id}{_REPLACED}"


def _mark(content: Any) -> FileMark | None:
    match content:
        case {"voice_id": str(voice_id), "size": int(size), "mtime_ns": int(mtime_ns)} if is_voice_id(
            voice_id
        ):
            return FileMark(voice_id, size, mtime_ns)
    return None
