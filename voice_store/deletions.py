"""The folder ``deleted/``: notes about voices that were removed on request or replaced.

    deleted/<id>.json                              the voice is gone; kept to answer a repeated request
    deleted/<id>.<other>.<digits>.replaced.json    it is gone as soon as the file of the other one is there

A voice is deleted by removing its file, so a note of the first kind beside a file means nothing. One of the
second kind is written before a voice is overwritten: the link that gives the new file its name then deletes
the other voice at the same moment, whoever dies in between. It is about two very files, told by their
contents, since times do not survive a copy of the store: what anyone else puts in their places later is
another voice. No two writers make the same file in the place of a voice, nor the same note.

A version that was never released also wrote <id>.pending.json before it removed a file, told files by their
times, and gave its notes no digits; such notes are still understood.
"""

from __future__ import annotations

import builtins
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from voice_store.files import Folder, NotAPlainFileError
from voice_store.json_files import read_object, to_json
from voice_store.metadata import now
from voice_store.names import fold_name, is_voice_id, readable, voice_file_name
from voice_store.voice_file import MAX_FILE_BYTES

KEPT_FOR_S = 30 * 24 * 3600.0
MAX_NOTE_BYTES = 2**16
_MAX_NAME_BYTES = 180  # file systems take 255, and the ending and a temporary's name come on top

_WAITING = re.compile(r"(.+)\.(pending|replaced)\.json")
_DONE = ".json"


@dataclass(frozen=True)
class FileMark:
    """Which file of a voice. sha256: of its bytes; None: told by its time in nanoseconds."""

    voice_id: str
    size: int
    sha256: str | None
    mtime_ns: int | None = None

    @classmethod
    def of(cls, voice_id: str, content: bytes) -> FileMark:
        return cls(voice_id, len(content), hashlib.sha256(content).hexdigest())

    @classmethod
    def of_file(cls, voice_id: str, voices: Folder) -> FileMark | None:
        """None where there is no file. Raises OSError."""
        name = voice_file_name(voice_id)
        stamp = voices.stamp_of(name)
        if stamp is None:
            return None
        try:
            return cls.of(voice_id, voices.read(name, MAX_FILE_BYTES))
        except FileNotFoundError:
            return None
        except NotAPlainFileError:  # too large to be a voice, or no file
            return cls(voice_id, stamp.size, None, stamp.mtime_ns)

    def is_there(self, voices: Folder) -> bool:
        """voices: the folder of their files. Raises OSError."""
        stamp = voices.stamp_of(voice_file_name(self.voice_id))
        if stamp is None or stamp.size != self.size:
            return False
        if self.sha256 is None:
            return stamp.mtime_ns == self.mtime_ns
        return FileMark.of_file(self.voice_id, voices) == self


@dataclass(frozen=True)
class Waiting:
    """A note that a voice is gone under a condition: that its successor's file is there, if it names one.

    revision: the latest of the voice when the note was written; one that was changed since is another voice.
    """

    file_name: str
    voice: FileMark
    successor: FileMark | None
    revision: int | None = None

    def hides(self, voices: Folder, revisions: Mapping[str, int]) -> bool:
        """Whether it is about what is there now. revisions: the latest, by id. Raises OSError."""
        latest = revisions.get(self.voice.voice_id, 0)
        is_same = self.revision is None or self.revision == latest
        return is_same and self._is_true(voices) and self.voice.is_there(voices)

    def is_to_be_finished(self, voices: Folder, revisions: Mapping[str, int]) -> bool:
        """Whether its voice is gone, or is to be removed; as ``hides``."""
        is_removed = not voices.has(voice_file_name(self.voice.voice_id))
        return (is_removed and self._is_true(voices)) or self.hides(voices, revisions)

    def _is_true(self, voices: Folder) -> bool:
        return self.successor is None or self.successor.is_there(voices)


@dataclass(frozen=True)
class Gone:
    voice_id: str
    name: str
    deleted_at: str


class Deletions:
    """Every method may raise OSError; ids must have passed ``is_voice_id``."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def list(self) -> tuple[builtins.list[Waiting], set[str]]:
        """The notes with a condition, and the ids that have a note without one."""
        waiting, done = [], set()
        for name in self.folder.names():
            match = _WAITING.fullmatch(name)
            if match is None:
                if name.endswith(_DONE) and is_voice_id(name.removesuffix(_DONE)):
                    done.add(name.removesuffix(_DONE))
                continue
            with suppress(OSError):  # one that cannot be read must not keep the store from its voices
                if (note := self._read_waiting(name)) is not None:
                    waiting.append(note)
        return waiting, done

    def has(self, voice_id: str) -> bool:
        """Whether there is a note that a voice of that id is gone."""
        return self.folder.has(voice_id + _DONE)

    def note(self, voice_id: str, name: str) -> None:
        """Notes that a voice is gone, or is about to go."""
        self.folder.make()
        self.folder.replace(
            voice_id + _DONE, to_json({"voice_id": voice_id, "name": name, "deleted_at": now()})
        )

    def promise(self, voice: FileMark, revision: int, name: str, successor: FileMark) -> None:
        """Commits that a voice is gone as soon as the file of its successor is there.

        revision: the latest of the voice; the promise does not hold once it was changed again.
        """
        self.folder.make()
        content = {
            "voice": vars(voice),
            "revision": revision,
            "name": name,
            "deleted_at": now(),
            "successor": vars(successor),
        }
        self.folder.replace(_promise_file(voice, successor), to_json(content))

    def withdraw(self, voice: FileMark, successor: FileMark) -> None:
        """Takes a promise back, since the successor did not come."""
        self.folder.remove(_promise_file(voice, successor))

    def settle(self, note: Waiting) -> None:
        """Makes a note with a condition one without, once the file is gone."""
        with suppress(FileNotFoundError):  # another worker was quicker
            self.folder.move(note.file_name, self.folder, note.voice.voice_id + _DONE)

    def find(self, *, name: str | None, voice_id: str | None) -> Gone | None:
        """The note about a voice by its id, or the latest about one of that name."""
        ids = sorted(self.list()[1]) if voice_id is None else [voice_id]
        found = [note for note in map(self._read_gone, ids) if note is not None]
        if name is not None:
            found = [note for note in found if fold_name(note.name) == fold_name(name)]
        return max(found, key=lambda note: note.deleted_at, default=None)

    def sweep(self, voices: Folder, revisions: Mapping[str, int], waiting_after_s: float) -> None:
        """Removes notes that no request will ask for any more.

        waiting_after_s: a note whose condition has not come true by then was left by a worker that died.
        """
        waiting, done = self.list()
        for note in waiting:
            if self.folder.is_older(note.file_name, waiting_after_s) and not note.hides(voices, revisions):
                self.folder.remove(note.file_name)
        for voice_id in done:
            if self.folder.is_older(voice_id + _DONE, KEPT_FOR_S):
                self.folder.remove(voice_id + _DONE)

    def _read_waiting(self, file_name: str) -> Waiting | None:
        content = read_object(self.folder, file_name, MAX_NOTE_BYTES, is_ours=True)
        voice, successor = _mark(content.get("voice")), _mark(content.get("successor"))
        if voice is None:
            return None
        expected = _promise_file(voice, successor) if successor else f"{voice.voice_id}.pending.json"
        # A file that says something else than its name is not one of ours.
        number = content.get("revision")
        revision = number if type(number) is int else None
        return Waiting(file_name, voice, successor, revision) if file_name == expected else None

    def _read_gone(self, voice_id: str) -> Gone | None:
        content = read_object(self.folder, voice_id + _DONE, MAX_NOTE_BYTES, is_ours=True)
        if not content:
            return None
        return Gone(voice_id, readable(content.get("name")), readable(content.get("deleted_at")))


def _promise_file(voice: FileMark, successor: FileMark) -> str:
    digits = f".{successor.sha256[:16]}" if successor.sha256 else ""
    name = f"{voice.voice_id}.{successor.voice_id}{digits}"
    if len(name.encode()) > _MAX_NAME_BYTES:
        name = hashlib.sha256(name.encode()).hexdigest()
    return f"{name}.replaced.json"


def _mark(content: Any) -> FileMark | None:
    if not isinstance(content, dict):
        return None
    voice_id, size = content.get("voice_id"), content.get("size")
    sha256, mtime_ns = content.get("sha256"), content.get("mtime_ns")
    if not (isinstance(voice_id, str) and is_voice_id(voice_id) and type(size) is int):
        return None
    if isinstance(sha256, str):
        return FileMark(voice_id, size, sha256)
    return FileMark(voice_id, size, None, mtime_ns) if type(mtime_ns) is int else None
