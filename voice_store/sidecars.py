"""The folders of files that lie beside a voice's own, named by its id, and that go with it.

revisions/<id>.<number>.json             what was changed about the voice; the highest number counts
metadata/<id>.json                       what is known about it, for other programs; derived
conditionals/<id>.<key>.safetensors      what models made of it; can be made again
previews/<id>.flac                       a sentence that it says; can be made again
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from errors import InvalidRequest
from voice_store.files import Folder, NotAPlainFileError
from voice_store.json_files import DamagedJsonError, JsonObject, parse_object, read_object, to_json
from voice_store.metadata import foreign_keys
from voice_store.names import is_voice_id, voice_file_name

log = logging.getLogger(__name__)

MAX_JSON_BYTES = 2**21  # 500 pronunciations take at most 2 MB
MAX_BYTES = 2**23  # of a voice's conditionals or preview
KEY = re.compile(r"[a-z0-9-]{1,64}")


class Sidecars:
    """The files of one such folder. Methods may raise OSError; ids must have passed ``is_voice_id``."""

    def __init__(self, folder: Folder, pattern: str) -> None:
        self.folder = folder
        self._pattern = re.compile(pattern)

    def matches(self) -> list[re.Match[str]]:
        """The names of the files, links and pipes too; the first group is the voice's id."""
        found = (self._pattern.fullmatch(name) for name in self.folder.names(of_all=True))
        return [match for match in found if match and is_voice_id(match[1])]

    def forget(self, voice_ids: Collection[str]) -> None:
        """Removes the files of voices that are gone."""
        for match in self.matches():
            if match[1] in voice_ids:
                self.folder.remove(match[0])

    def orphans(self, voice_ids: Collection[str], older_than_s: float) -> list[str]:
        """The names of files of other voices than these that were last written to longer ago."""
        return [
            match[0]
            for match in self.matches()
            if match[1] not in voice_ids and self.folder.is_older(match[0], older_than_s)
        ]


class Revisions(Sidecars):
    """What was changed about voices after they were cloned.

    The file of a voice is written once, so what can change lies here: a revision holds all of it. Two workers
    that change a voice at the same time cannot undo each other: a number is taken by ``link``, and whoever
    finds it taken starts over from what is there. The indexes repeat the latest revision for other programs;
    when one of those writes an older state back, the number in it tells.
    """

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder, r"(.+)\.([1-9][0-9]{0,8})\.json")

    def latest(self) -> dict[str, int]:
        """The highest number of each voice that has any, by its id."""
        numbers: dict[str, int] = {}
        for match in self.matches():
            numbers[match[1]] = max(int(match[2]), numbers.get(match[1], 0))
        return numbers

    def read(self, voice_id: str, number: int) -> JsonObject:
        """Empty when it is gone or damaged."""
        return read_object(self.folder, f"{voice_id}.{number}.json", MAX_JSON_BYTES, is_ours=True)

    def add(self, voice_id: str, number: int, content: Mapping[str, Any]) -> bool:
        """Commits a revision; False, with nothing changed, when another writer was quicker.

        Raises InvalidRequest for one that is too large.
        """
        data = to_json(content)
        if len(data) > MAX_JSON_BYTES:  # no reader would take it
            raise InvalidRequest("what is known about the voice is too long", hint="shorten some of it")
        self.folder.make()
        if not self.folder.create(f"{voice_id}.{number}.json", data):
            return False
        # Lower numbers are removed once there is a higher one: it may have been free for that reason.
        return self.latest().get(voice_id) == number

    def is_empty(self, voice_id: str, number: int) -> bool:
        """Whether the file of a revision is there and holds nothing."""
        stamp = self.folder.stamp_of(f"{voice_id}.{number}.json")
        return stamp is not None and stamp.size == 0

    def drop(self, voice_id: str, below: int) -> None:
        """Removes the revisions of a voice that have a lower number."""
        for match in self.matches():
            if match[1] == voice_id and int(match[2]) < below:
                self.folder.remove(match[0])


class MetadataFiles(Sidecars):
    """What is known about each voice, for programs that read it there."""

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder, r"(.+)\.json")

    def read(self, voice_id: str) -> JsonObject:
        """Empty when nothing can be read, or may be. Raises nothing, and waits for no writer."""
        with suppress(OSError):
            return read_object(self.folder, f"{voice_id}.json", MAX_JSON_BYTES, is_ours=True)
        return {}

    def describe(self, voice_id: str, metadata: Mapping[str, Any], *, is_synced: bool) -> None:
        """Writes what is known about a voice, beside the keys of other programs; None is not knowing.

        is_synced: see ``Folder.replace``. Raises RecursionError for what others have nested too deeply.
        """
        name = f"{voice_id}.json"
        there = read_object(self.folder, name, MAX_JSON_BYTES)
        known = foreign_keys(there) | {key: value for key, value in metadata.items() if value is not None}
        if known == there:
            return
        content = to_json(known)
        if len(content) > MAX_JSON_BYTES:  # no reader would take it
            log.warning("metadata of voice %s not written: other programs' keys fill it", voice_id)
            return
        self.folder.make()
        self.folder.replace(name, content, is_synced=is_synced)

    def orphans(self, voice_ids: Collection[str], older_than_s: float) -> list[str]:
        """As for other folders, without files in which other programs have keys."""
        return [name for name in super().orphans(voice_ids, older_than_s) if self._is_ours(name)]

    def _is_ours(self, name: str) -> bool:
        try:
            content = parse_object(self.folder, name, MAX_JSON_BYTES)
        except DamagedJsonError:
            return False
        return content is not None and not foreign_keys(content)


@dataclass(frozen=True, eq=False)
class SidecarFile:
    """What is kept of one voice that can be made again, as bytes, by key, or without one for a single file.

    What cannot be read is not there, what cannot be written is not kept: nothing here raises.
    """

    _files: Sidecars
    _voices: Folder
    _voice_id: str
    _suffix: str

    def read(self, key: str) -> bytes | None:
        """The bytes as they were written, or as anyone else has changed them."""
        try:
            return self._files.folder.read(self._name(key), MAX_BYTES)
        except (OSError, NotAPlainFileError):
            return None

    def write(self, key: str, content: bytes) -> bool:
        """Whether the bytes are kept; not for a voice that has been deleted, nor more than MAX_BYTES."""
        if len(content) > MAX_BYTES:
            return False
        folder, name = self._files.folder, self._name(key)
        try:
            if self._is_voice_there():
                folder.make()
                folder.replace(name, content)
                if self._is_voice_there():
                    return True
                folder.remove(name)
        except (OSError, NotAPlainFileError) as fault:
            log.warning("%s of voice %s not kept: %r", folder.path.name, self._voice_id, fault)
        return False

    def _is_voice_there(self) -> bool:
        return self._voices.has(voice_file_name(self._voice_id))

    def _name(self, key: str) -> str:
        assert not key or KEY.fullmatch(key), key
        return f"{self._voice_id}{'.' * bool(key)}{key}{self._suffix}"
