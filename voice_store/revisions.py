"""The folder ``revisions/``: what was changed about a voice after it was cloned.

    revisions/<id>.<number>.json

A file of a voice's audio is written once and never again, so what can change lies here: a revision holds
all of it, and the highest number counts. Two workers that change a voice at the same time cannot undo each
other: a number is taken by ``link``, and whoever finds it taken starts over from what is there. The indexes
repeat the latest revision for other programs; when one of those writes an older state back, the number in it
tells.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from errors import InvalidRequest
from voice_store.embeddings import is_voice_id
from voice_store.files import Folder
from voice_store.json_files import JsonObject, read_object, to_json

MAX_REVISION_BYTES = 2**21  # 500 pronunciations take at most 2 MB

_NAME = re.compile(r"(.+)\.([1-9][0-9]{0,8})\.json")


class Revisions:
    """Every method may raise OSError; ids must have passed ``is_voice_id``."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def latest(self) -> dict[str, int]:
        """The highest number of each voice that has any, by its id."""
        numbers: dict[str, int] = {}
        for voice_id, number in self._all():
            numbers[voice_id] = max(number, numbers.get(voice_id, 0))
        return numbers

    def read(self, voice_id: str, number: int) -> JsonObject:
        """Empty when it is gone or damaged."""
        return read_object(self.folder, _file_name(voice_id, number), MAX_REVISION_BYTES, is_ours=True)

    def add(self, voice_id: str, number: int, content: Mapping[str, Any]) -> bool:
        """Commits a revision; False, with nothing changed, when another writer was quicker.

        Raises InvalidRequest for one that is too large.
        """
        data = to_json(dict(content))
        if len(data) > MAX_REVISION_BYTES:  # no reader would take it
            raise InvalidRequest("what is known about the voice is too long", hint="shorten some of it")
        self.folder.make()
        if not self.folder.create(_file_name(voice_id, number), data):
            return False
        # Lower numbers are removed once there is a higher one: it may have been free for that reason.
        return self.latest().get(voice_id) == number

    def drop(self, voice_id: str, below: int | None = None) -> None:
        """Removes all revisions of a voice, or those with a lower number."""
        for other_id, number in self._all():
            if other_id == voice_id and (below is None or number < below):
                self.folder.remove(_file_name(voice_id, number))

    def sweep(self, voice_ids: Collection[str], older_than_s: float) -> list[str]:
        """Removes those of other voices than these, and says which, by file name."""
        orphans = (
            _file_name(voice_id, number) for voice_id, number in self._all() if voice_id not in voice_ids
        )
        return [
            name for name in orphans if self.folder.is_older(name, older_than_s) and self.folder.remove(name)
        ]

    def _all(self) -> list[tuple[str, int]]:
        # A link or a pipe takes a number too: as a revision that cannot be read.
        matches = (_NAME.fullmatch(name) for name in self.folder.names(of_all=True))
        return [(match[1], int(match[2])) for match in matches if match and is_voice_id(match[1])]


def _file_name(voice_id: str, number: int) -> str:
    return f"{voice_id}.{number}.json"
