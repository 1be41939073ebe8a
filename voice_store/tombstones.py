"""The folder ``deleted/``: which voices were removed on request.

    deleted/<id>.pending.json    the voice does not count any more, though its file may still be there
    deleted/<id>.json            its file is gone; kept for a while, to answer a request that comes twice

A tombstone is written before the file is removed, so a worker that is killed in between has deleted the voice
all the same. A pending one hides the very file that it was written for: what another program stores under
the id later is another voice.
"""

from __future__ import annotations

from dataclasses import dataclass

from voice_store.embeddings import is_voice_id
from voice_store.files import Folder, Stamp
from voice_store.json_files import JsonObject, read_object, to_json
from voice_store.metadata import now
from voice_store.names import fold_name, readable

KEPT_FOR_S = 30 * 24 * 3600.0
MAX_TOMBSTONE_BYTES = 2**16

_PENDING = ".pending.json"
_DONE = ".json"


@dataclass(frozen=True)
class Tombstone:
    """name: what the voice was called."""

    voice_id: str
    name: str


class Tombstones:
    """Every method may raise OSError; ids must have passed ``is_voice_id``."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def list_ids(self) -> tuple[set[str], set[str]]:
        """The ids of pending tombstones, and of the others."""
        pending, done = set(), set()
        for name in self.folder.names():
            if name.endswith(_PENDING):
                pending.add(name.removesuffix(_PENDING))
            elif name.endswith(_DONE):
                done.add(name.removesuffix(_DONE))
        return set(filter(is_voice_id, pending)), set(filter(is_voice_id, done))

    def has(self, voice_id: str) -> bool:
        return self.folder.has(voice_id + _PENDING) or self.folder.has(voice_id + _DONE)

    def bury(self, voice_id: str, name: str, stamp: Stamp) -> None:
        """Commits that the voice in the file with this stamp is deleted."""
        content = {
            "voice_id": voice_id,
            "speaker_name": name,
            "deleted_at": now(),
            "size": stamp.size,
            "mtime_ns": stamp.mtime_ns,
        }
        self.folder.make()
        self.folder.replace(voice_id + _PENDING, to_json(content))

    def hides(self, voice_id: str, stamp: Stamp | None) -> bool:
        """Whether the file with this stamp is the one that a pending tombstone was written for."""
        # Not the inode: some network file systems make them up anew for each host.
        content = self._read(voice_id + _PENDING)
        return stamp is not None and (content.get("size"), content.get("mtime_ns")) == (
            stamp.size,
            stamp.mtime_ns,
        )

    def settle(self, voice_id: str) -> None:
        """Notes that nothing is left of the voice."""
        self.folder.move(voice_id + _PENDING, self.folder, voice_id + _DONE)

    def find(self, *, name: str | None, voice_id: str | None) -> Tombstone | None:
        """That of a deleted voice by its id, or the latest by its name."""
        files = self.folder.names() if voice_id is None else [voice_id + _DONE, voice_id + _PENDING]
        found = []
        for content in map(self._read, files):
            found_id, found_name = readable(content.get("voice_id")), readable(content.get("speaker_name"))
            if is_voice_id(found_id) and (name is None or fold_name(found_name) == fold_name(name)):
                found.append((readable(content.get("deleted_at")), Tombstone(found_id, found_name)))
        return max(found, key=lambda dated: dated[0], default=("", None))[1]

    def sweep(self, pending_after_s: float) -> list[str]:
        """Removes those that are old enough for no request to come back, and says which, by file name.

        pending_after_s: what is pending for longer has lost its worker when all was removed but the word.
        """
        pending, done = self.list_ids()
        for voice_id in pending:
            if self.folder.is_older(voice_id + _PENDING, pending_after_s):
                self.settle(voice_id)
        files = (voice_id + _DONE for voice_id in done)
        return [file for file in files if self.folder.is_older(file, KEPT_FOR_S) and self.folder.remove(file)]

    def _read(self, file: str) -> JsonObject:
        return read_object(self.folder, file, MAX_TOMBSTONE_BYTES)
