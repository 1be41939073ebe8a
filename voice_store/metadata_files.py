"""The folder ``metadata/``: what is known about one voice, beside its audio, a file each."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from voice_store.embeddings import Embeddings, is_voice_id
from voice_store.files import Folder
from voice_store.json_files import DamagedJsonError, JsonObject, parse_object, read_object, to_json
from voice_store.metadata import foreign_keys

log = logging.getLogger(__name__)

MAX_METADATA_BYTES = 2**21  # 500 pronunciations take at most 2 MB

_SUFFIX = ".json"


class MetadataFiles:
    """Failing to write is logged and no more: no voice depends on it."""

    def __init__(self, folder: Folder, embeddings: Embeddings) -> None:
        self.folder = folder
        self._embeddings = embeddings

    def read(self, voice_id: str) -> JsonObject:
        """Empty when there is nothing that can be read."""
        with suppress(OSError):  # a file that may not be read says nothing about its voice, nor about others
            return read_object(self.folder, _file_name(voice_id), MAX_METADATA_BYTES)
        return {}

    def announce(self, voice_id: str, metadata: Mapping[str, Any]) -> bool:
        """Writes what is known about a voice that is about to be committed; False if something is there.

        Whoever sees the voice first and notes it in the catalog then knows all of it.
        """
        name, content = _file_name(voice_id), to_json(dict(metadata))
        try:
            self.folder.make()
            announced = self.folder.create(name, content)
            if not announced and not self._embeddings.has(voice_id):
                self.folder.replace(name, content)  # left by a worker that died before it committed
            return announced
        except OSError as fault:
            log.warning("metadata of voice %s not written: %r", voice_id, fault)
            return False

    def describe(self, voice_id: str, metadata: Mapping[str, Any]) -> None:
        """Writes what is known about a voice that is there; None is not knowing. Failing is logged.

        Another worker may delete the voice meanwhile: then nothing is left here either.
        """
        name = _file_name(voice_id)
        try:
            there = read_object(self.folder, name, MAX_METADATA_BYTES)
            known = foreign_keys(there) | {key: value for key, value in metadata.items() if value is not None}
            if known != there and self._embeddings.has(voice_id):
                content = to_json(known)
                if len(content) > MAX_METADATA_BYTES:  # no reader would take it
                    log.warning("metadata of voice %s not written: other programs' keys fill it", voice_id)
                    return
                self.folder.make()
                self.folder.replace(name, content)
                if not self._embeddings.has(voice_id):
                    self.forget(voice_id)
        except (OSError, RecursionError) as fault:
            log.warning("metadata of voice %s not written: %r", voice_id, fault)

    def forget(self, voice_id: str) -> None:
        """Removes what is written about a voice that is not there. Failing is logged."""
        try:
            self.folder.remove(_file_name(voice_id))
        except OSError as fault:
            log.warning("metadata of voice %s not removed: %r", voice_id, fault)

    def ids(self) -> set[str]:
        """The ids that have a file here, of whatever content. Raises OSError."""
        ids = {name.removesuffix(_SUFFIX) for name in self.folder.names() if name.endswith(_SUFFIX)}
        return {voice_id for voice_id in ids if is_voice_id(voice_id)}

    def orphans(self, voice_ids: Collection[str], older_than_s: float) -> list[str]:
        """The ids, in order, of files about other voices than these that no other program has keys in.

        Only files that were last written to longer ago count. Raises OSError.
        """
        return [
            voice_id
            for voice_id in sorted(self.ids().difference(voice_ids))
            if self.folder.is_older(_file_name(voice_id), older_than_s) and self._is_ours(voice_id)
        ]

    def _is_ours(self, voice_id: str) -> bool:
        try:
            content = parse_object(self.folder, _file_name(voice_id), MAX_METADATA_BYTES)
        except DamagedJsonError:
            return False
        return content is not None and not foreign_keys(content)


def _file_name(voice_id: str) -> str:
    return f"{voice_id}{_SUFFIX}"
