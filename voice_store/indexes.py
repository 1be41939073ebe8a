"""The indexes beside the voices: derived from ``embeddings/``, merged with what is there, never relied upon.

    metadata/<id>.json    what is known about one voice
    voice_catalog.json    the same of all, by id
    name_mapping.json     name -> id
    stats.json            counts

A voice exists when its file in ``embeddings/`` does. An index that is missing, torn or behind is made good by
whoever reads next; entries and keys of other programs survive. Failing to write one is logged and no more:
the voices do not depend on it.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from errors import StoreCorrupt
from voice_store.embeddings import Embeddings
from voice_store.files import NotAPlainFileError, create_file, read_plain_file, remove_file, replace_file
from voice_store.library import Library
from voice_store.metadata import DATE_FORMAT, KEYS, entry_name, is_complete, tidy_metadata
from voice_store.names import fold_name, readable

log = logging.getLogger(__name__)

MAX_INDEX_BYTES = 16 * 2**20  # some 30,000 voices; parsed JSON may take 30 times its size
MAX_METADATA_BYTES = 2**18

_REREAD_AFTER_S = 0.2

JsonObject = dict[str, Any]
Changes = Mapping[str, Mapping[str, Any] | None]  # by voice id; None: the voice is gone


class Indexes:
    """The index files of the store in ``root``."""

    def __init__(self, root: Path, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        self._metadata = root / "metadata"
        self._catalog = root / "voice_catalog.json"
        self._name_mapping = root / "name_mapping.json"
        self._stats = root / "stats.json"

    def read_library(self) -> Library:
        """The voices there are, with what the indexes know about them. Raises OSError."""
        return self._bring_up_to_date({})

    def announce(self, voice_id: str, metadata: Mapping[str, Any]) -> bool:
        """Writes what is known about a voice that is about to be committed; False if something is there.

        Whoever sees the voice first and notes it in the catalog then knows all of it.
        """
        path, content = self._metadata_file(voice_id), _to_json(dict(metadata))
        try:
            announced = create_file(path, content)
            if not announced and not self._embeddings.has(voice_id):
                replace_file(path, content)  # left by a worker that died before it committed
            return announced
        except OSError as fault:
            log.warning("metadata of voice %s not written: %r", voice_id, fault)
            return False

    def withdraw(self, voice_id: str) -> None:
        """Takes back what was announced, or what is known about a voice whose file is gone."""
        try:
            remove_file(self._metadata_file(voice_id))
        except OSError as fault:
            log.warning("metadata of voice %s not removed: %r", voice_id, fault)

    def record(self, voice_id: str, metadata: Mapping[str, Any]) -> None:
        """Notes what is known about a voice whose file is committed; None is not knowing."""
        metadata = {key: value for key, value in metadata.items() if value is not None}
        path = self._metadata_file(voice_id)
        try:
            there = _read_index(path, MAX_METADATA_BYTES) or {}
            known = _foreign(there) | metadata
            if known != there:
                replace_file(path, _to_json(known))
        except (OSError, RecursionError) as fault:
            log.warning("metadata of voice %s not written: %r", voice_id, fault)
        self._try_to_bring_up_to_date({voice_id: metadata})

    def forget(self, voice_id: str) -> None:
        """Drops a voice whose file is gone."""
        self.withdraw(voice_id)
        self._try_to_bring_up_to_date({voice_id: None})

    def _try_to_bring_up_to_date(self, changes: Changes) -> None:
        try:
            self._bring_up_to_date(changes)
        except OSError as fault:
            log.warning("indexes not updated: %r", fault)

    def _bring_up_to_date(self, changes: Changes) -> Library:
        """Merges the folder's listing, the indexes as they are, and ``changes``."""
        voice_ids = self._embeddings.list_ids()
        may_write = True
        try:
            catalog = _read_index(self._catalog, MAX_INDEX_BYTES)
            mapping = _read_index(self._name_mapping, MAX_INDEX_BYTES)
        except OSError as fault:  # the voices can be served without, but what is not read is not replaced
            log.warning("indexes not read: %r", fault)
            catalog, mapping, may_write = None, None, False
        entries = self._gather_entries(voice_ids, catalog or {}, mapping or {}, changes)
        voices = {voice_id: tidy_metadata(voice_id, entry) for voice_id, entry in entries.items()}
        library = Library(voices, _aliases(entries, mapping or {}))
        # An empty folder may be a volume that is not there: its indexes stay.
        if may_write and (voice_ids or changes):
            merged = _merge_catalog(catalog or {}, entries, changes)
            try:
                if merged != catalog:
                    replace_file(self._catalog, _to_json(merged))
                names = _merge_mapping(mapping or {}, merged, library)
                if names != mapping:
                    replace_file(self._name_mapping, _to_json(names))
                self._write_stats(library)
            except (OSError, RecursionError) as fault:
                log.warning("indexes not written: %r", fault)
        return library

    def _gather_entries(
        self, voice_ids: list[str], catalog: JsonObject, mapping: JsonObject, changes: Changes
    ) -> dict[str, JsonObject]:
        mapped_names = {voice_id: name for name, voice_id in mapping.items() if isinstance(voice_id, str)}
        entries = {}
        for voice_id in voice_ids:
            listed = catalog.get(voice_id)
            entry = listed if isinstance(listed, dict) else {}
            if change := changes.get(voice_id):
                entry = _foreign(entry) | dict(change)
            if is_complete(entry):
                entries[voice_id] = entry
            elif recovered := self._recover_entry(voice_id, entry, mapped_names.get(voice_id)):
                entries[voice_id] = recovered
        return entries

    def _recover_entry(self, voice_id: str, entry: JsonObject, mapped_name: str | None) -> JsonObject | None:
        """The entry completed from the voice's metadata file, then from the voice itself.

        None when the voice cannot be read and nothing says its name.
        """
        described: JsonObject = {}
        with suppress(OSError):  # a file that may not be read says nothing about its voice, nor about others
            described = _read_index(self._metadata_file(voice_id), MAX_METADATA_BYTES) or {}
        known = described | entry
        try:
            stored = self._embeddings.load(voice_id)
            modified_at = self._embeddings.modified_at(voice_id)
        except (StoreCorrupt, OSError) as fault:
            log.warning("voice %s cannot be read: %r", voice_id, fault)
            name = entry_name(known) or mapped_name
            return known | {"speaker_name": name} if name else None
        if stored.name and fold_name(entry_name(described)) not in ("", fold_name(stored.name)):
            # Announced under another name by a worker that died before it committed: the voice's own counts.
            known = _foreign(described) | entry
        if is_complete(known):
            return known
        known["duration"] = round(stored.waveform.duration_s, 2)
        if not entry_name(known):
            known["speaker_name"] = stored.name or mapped_name or voice_id
        if not known.get("created_at"):
            known["created_at"] = stored.created_at or modified_at.strftime(DATE_FORMAT)
        said = {key: value for key, value in tidy_metadata(voice_id, known).items() if value is not None}
        return said | known

    def _metadata_file(self, voice_id: str) -> Path:
        return self._metadata / f"{voice_id}.json"

    def _write_stats(self, library: Library) -> None:
        there = _read_index(self._stats, MAX_INDEX_BYTES) or {}
        counted = library.stats()
        del counted["average_duration"]  # not of the file's format
        if any(there.get(key) != counted[key] for key in ("total_voices", "gender_distribution")):
            now = datetime.now(UTC).strftime(DATE_FORMAT)
            replace_file(
                self._stats, _to_json({"generation_time": now} | there | counted | {"last_updated": now})
            )


def _foreign(entry: JsonObject) -> JsonObject:
    """What other programs keep in an entry."""
    return {key: value for key, value in entry.items() if key not in KEYS}


def _aliases(entries: Mapping[str, JsonObject], mapping: JsonObject) -> dict[str, str]:
    full_names = {
        entry["name"]: voice_id for voice_id, entry in entries.items() if readable(entry.get("name"))
    }
    return full_names | {name: voice_id for name, voice_id in mapping.items() if isinstance(voice_id, str)}


def _merge_catalog(catalog: JsonObject, entries: Mapping[str, JsonObject], changes: Changes) -> JsonObject:
    """The catalog without voices that are gone. An entry with keys of another program is that program's."""

    def stays(key: str, entry: object) -> bool:
        if key in entries:
            return True
        is_ours = isinstance(entry, dict) and entry.keys() <= KEYS
        return not is_ours and key not in changes

    return {key: entry for key, entry in (catalog | dict(entries)).items() if stays(key, entry)}


def _merge_mapping(mapping: JsonObject, catalog: JsonObject, library: Library) -> JsonObject:
    kept = {
        name: voice_id
        for name, voice_id in mapping.items()
        if not isinstance(voice_id, str) or voice_id in catalog
    }
    return kept | library.own_names


def _read_index(path: Path, max_bytes: int) -> JsonObject | None:
    """The object in a JSON file; None when there is none.

    Older programs write in place: what does not parse is looked at again a moment later. What is damaged
    then is set aside, not overwritten, because other programs' keys may still be in it. Raises OSError.
    """
    for attempt in range(2):
        if attempt:
            time.sleep(_REREAD_AFTER_S)
        try:
            content = json.loads(read_plain_file(path, max_bytes))
        except FileNotFoundError:
            return None
        except (NotAPlainFileError, ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            return content
    aside = path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:8]}")
    log.warning("index %s is damaged: set aside as %s and made anew", path.name, aside.name)
    with suppress(OSError):  # a volume that is read-only
        path.rename(aside)
    return None


def _to_json(content: JsonObject) -> bytes:
    # ASCII, so that a reader's locale does not matter.
    return json.dumps(content, indent=2).encode("ascii")
