"""The indexes beside the voices: derived from the voices' files, merged with what is there, not relied upon.

    metadata/<id>.json    what is known about one voice
    voice_catalog.json    the same of all, by id
    name_mapping.json     name -> id
    stats.json            counts

An index that is missing, torn or behind is made good; entries and keys of other programs survive. Failing to
write one is logged and no more: the voices do not depend on it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress

from filelock import FileLock, Timeout

from errors import StoreCorrupt
from voice_store.folders import Listing, StoreFolders
from voice_store.json_files import IndexFile, JsonObject
from voice_store.library import Library
from voice_store.metadata import (
    ABOUT,
    DATE_FORMAT,
    FORMER_NAMES,
    KEYS,
    entry_name,
    foreign_keys,
    is_complete,
    is_former_name,
    now,
    revised,
    revision_of,
    tidy_metadata,
)
from voice_store.names import fold_name, is_voice_id, readable

log = logging.getLogger(__name__)

# Parsed JSON may take 30 times its size: what may be read depends on how many voices there are.
MAX_INDEX_BYTES = 2**27
MIN_INDEX_BYTES = 2**24
INDEX_BYTES_PER_VOICE = 2**14

CATALOG, MAPPING, STATS = INDEXES = ("voice_catalog.json", "name_mapping.json", "stats.json")
LOCK_FILE = ".indexes.lock"
_MOST_DESCRIBED = 32  # metadata files that a write of the indexes waits for
_LOCK_TIMEOUT_S = 2.0  # then it is done without: a lock saves work here, and nothing depends on it


class Indexes:
    """The index files of the store in ``root``, and what they say of a listing's voices."""

    def __init__(self, folders: StoreFolders) -> None:
        self._folders = folders
        root = folders.root
        self._catalog = IndexFile(root, CATALOG)
        self._mapping = IndexFile(root, MAPPING)
        self._stats = IndexFile(root, STATS)
        self._lock = FileLock(root.path / LOCK_FILE, timeout=_LOCK_TIMEOUT_S, fallback_to_soft=False)
        self._entries: dict[str, JsonObject] = {}  # what is known of each voice, by id
        self._undescribed: dict[str, None] = {}  # voices whose metadata files do not say as much
        self.is_behind = False  # since the last ``write`` failed
        self._library, self._aliases = Library({}, {}), dict[str, str]()
        self._mapping_seen: JsonObject = {}
        self._names: dict[str, list[str]] = {}  # in the mapping, by id

    def have_changed(self) -> bool:
        """Whether another program has exchanged catalog or mapping since they were read. Raises OSError."""
        return self._catalog.has_changed() or self._mapping.has_changed()

    def read(self, listing: Listing) -> None:
        """Reads catalog and mapping anew where they have changed."""
        max_bytes = min(max(len(listing.voice_ids) * INDEX_BYTES_PER_VOICE, MIN_INDEX_BYTES), MAX_INDEX_BYTES)
        before = self._catalog.content
        self._catalog.read(max_bytes if listing.voice_ids else MAX_INDEX_BYTES)
        self._mapping.read(max_bytes if listing.voice_ids else MAX_INDEX_BYTES)
        after = self._catalog.content
        if after is before:
            return
        for voice_id, entry in list(self._entries.items()):
            if after.get(voice_id) != before.get(voice_id):  # another program's word on a voice counts
                del self._entries[voice_id]
            elif entry is before.get(voice_id):
                self._entries[voice_id] = after[voice_id]  # which is equal: so that it is in memory once

    def library(self, listing: Listing) -> Library:
        """The voices of the listing, with what the indexes know about them.

        Costs little while only voices have come that have new names.
        """
        entries, library, mapping = self._entries, self._library, self._mapping.content
        for voice_id in entries.keys() - listing.voice_ids:
            del entries[voice_id]
        missing = sorted(listing.voice_ids - entries.keys())
        behind = [
            voice_id
            for voice_id, number in listing.revisions.items()
            if voice_id in entries and revision_of(entries[voice_id]) < number
        ]
        is_new_mapping = mapping is not self._mapping_seen
        if is_new_mapping:
            self._names = _names_by_id(mapping)
            self._mapping_seen = mapping
        changed = {}
        for voice_id in missing + behind:
            mapped_names = self._names.get(voice_id, [None])
            revision = listing.revisions.get(voice_id, 0)
            entry, described = self._gather_entry(voice_id, revision, mapped_names[-1])
            if entry_name(entry):  # else it cannot be read, and nothing says its name
                entries[voice_id] = entry
                if described is not None and not entry.items() <= described.items():
                    self._undescribed.pop(voice_id, None)
                    self._undescribed[voice_id] = None  # as the last one
                changed[voice_id] = tidy_metadata(voice_id, entry)
        gone = library.voices.keys() - entries.keys()
        if changed or gone or is_new_mapping:
            aliases = self._aliases_now(changed.keys() | gone, is_all=is_new_mapping or bool(gone))
            if gone or aliases != self._aliases:
                others = {key: voice for key, voice in library.voices.items() if key not in gone}
                self._library = Library(others | changed, aliases)
            else:
                self._library = library.with_changed(changed)
            self._aliases = aliases
        return self._library

    def _aliases_now(self, changed: Collection[str], *, is_all: bool) -> dict[str, str]:
        """Further names of voices by which they are found, after a change of some or of the mapping."""
        others = {name: voice_id for name, voice_id in self._aliases.items() if voice_id not in changed}
        known = {voice_id: self._entries[voice_id] for voice_id in changed if voice_id in self._entries}
        theirs = _aliases(known, self._names)
        if is_all or theirs.keys() & others.keys():
            return _aliases(self._entries, self._names)
        return others | theirs

    def write(self, listing: Listing, library: Library) -> bool:
        """Brings catalog, mapping and stats up to date; True when they are, and nothing was to be written.

        False after writing, and, with nothing written, when another program has exchanged them since they
        were read: what was written may come from a listing that is older than what another worker wrote just
        before, so list and read again. Failing is logged, and not tried again.
        """
        self.is_behind = False
        try:
            if self.have_changed():
                return False
            catalog = self._merged_catalog(listing)
            mapping = self._merged_mapping(catalog, library)
            written = (self._catalog.write(catalog), self._mapping.write(mapping), self._write_stats(library))
        except (OSError, RecursionError) as fault:
            log.warning("indexes not written: %r", fault)
            self.is_behind = True
            return True
        return not any(written)

    def describe(self) -> None:
        """Writes the metadata files of voices of which they do not say all. Failing is logged.

        Those of a whole store would take minutes: what changed last comes first, the rest with later writes.
        """
        latest = [voice_id for voice_id in reversed(self._undescribed) if voice_id in self._entries]
        is_synced = len(latest) <= _MOST_DESCRIBED
        for voice_id in latest[:_MOST_DESCRIBED]:
            self._folders.describe(voice_id, self._entries[voice_id], is_synced=is_synced)
        self._undescribed = dict.fromkeys(reversed(latest[_MOST_DESCRIBED:]))

    def compare(self, listing: Listing, library: Library) -> dict[str, tuple[JsonObject, JsonObject]]:
        """What catalog, mapping and stats hold, and what ``write`` would make of them, by file name."""
        catalog = self._merged_catalog(listing)
        mapping = self._merged_mapping(catalog, library)
        self._stats.read(MIN_INDEX_BYTES)
        return {
            self._catalog.name: (self._catalog.content, catalog),
            self._mapping.name: (self._mapping.content, mapping),
            self._stats.name: (self._stats.content, self._stats.content | _counted(library)),
        }

    @contextmanager
    def taking_turns(self) -> Iterator[None]:
        """Where locks work, only one worker at a time is in here, so that none merges in vain.

        And none can die between an old listing and writing what is behind others' indexes.
        """
        try:
            self._lock.acquire()
        except (OSError, Timeout, NotImplementedError, RuntimeError) as fault:  # the last one after a fork
            log.debug("going on without a lock: %r", fault)
        try:
            yield
        finally:
            with suppress(OSError):
                self._lock.release()

    def knows(self, voice_id: str) -> bool:
        """Whether the catalog tells of a voice, be its file there or not."""
        return voice_id in self._catalog.content

    def entry(self, voice_id: str) -> JsonObject:
        """What is known of a voice, keys of other programs included; as of the last ``library``."""
        return self._entries.get(voice_id, {})

    def _gather_entry(
        self, voice_id: str, revision: int, mapped_name: str | None
    ) -> tuple[JsonObject, JsonObject | None]:
        """The catalog's entry, completed and brought to the latest revision; and the metadata file.

        That is None when it was not read, because the catalog says all.
        """
        listed = self._catalog.content.get(voice_id)
        entry: JsonObject = listed if isinstance(listed, dict) else {}
        described = None
        if not is_complete(entry) or revision_of(entry) < revision:
            described = self._folders.metadata.read(voice_id)
            if not is_complete(entry):
                entry = self._recover_entry(voice_id, entry, described, mapped_name)
            if revision_of(entry) < revision:
                with suppress(OSError):
                    latest = self._folders.revisions.read(voice_id, revision)
                    entry = revised(entry, latest) if entry_name(latest) else entry | described
        return entry, described

    def _recover_entry(
        self, voice_id: str, entry: JsonObject, described: JsonObject, mapped_name: str | None
    ) -> JsonObject:
        """The entry completed from the voice's own file, and from its metadata file."""
        try:
            header = self._folders.voices.peek(voice_id)
            modified_at = self._folders.voices.modified_at(voice_id)
        except (StoreCorrupt, OSError):
            known = described | entry
            name = entry_name(known) or mapped_name
            return known | {"speaker_name": name} if name else known
        given = tidy_metadata(voice_id, header.about or {})
        about = {key: given[key] for key in ABOUT if key in (header.about or {}) and given[key]}
        is_renamed = fold_name(entry_name(described)) not in ("", fold_name(header.name or ""))
        if not revision_of(described) and (header.about is not None or (header.name and is_renamed)):
            # The voice's own file counts more; and this may be left by a voice that had the id before.
            described = foreign_keys(described)
        described = about | described
        known = described | entry if revision_of(described) <= revision_of(entry) else entry | described
        if is_complete(known):
            return known
        known["duration"] = round(header.duration_s, 2)
        if not entry_name(known):
            known["speaker_name"] = header.name or mapped_name or voice_id
        if not known.get("created_at"):
            known["created_at"] = header.created_at or modified_at.strftime(DATE_FORMAT)
        tidied = tidy_metadata(voice_id, known).items()
        said = {key: value for key, value in tidied if value or key == "original_file"}
        return said | known

    def _merged_catalog(self, listing: Listing) -> JsonObject:
        """The catalog without voices that are gone. An entry with keys of another program stays its own."""

        def stays(key: str, entry: object) -> bool:
            if key in self._entries:
                return True
            if key in listing.deleted or key in listing.replaced:
                return False
            is_ours = isinstance(entry, dict) and entry.keys() <= KEYS
            # A voice that came after the listing was made, and that its worker has told the catalog of.
            return not is_ours or (is_voice_id(key) and self._folders.voices.has(key))

        return {
            key: entry for key, entry in (self._catalog.content | self._entries).items() if stays(key, entry)
        }

    def _merged_mapping(self, catalog: JsonObject, library: Library) -> JsonObject:
        renamed = _renamed(self._entries)
        kept = {
            name: voice_id
            for name, voice_id in self._mapping.content.items()
            if not isinstance(voice_id, str)
            or (voice_id in catalog and not (voice_id in renamed and is_former_name(name, renamed[voice_id])))
        }
        return kept | library.own_names

    def _write_stats(self, library: Library) -> bool:
        self._stats.read(MIN_INDEX_BYTES)
        there, counted = self._stats.content, _counted(library)
        if all(there.get(key) == counted[key] for key in counted):
            return False
        return self._stats.write({"generation_time": now()} | there | counted | {"last_updated": now()})


def _counted(library: Library) -> JsonObject:
    """What the stats file holds, besides dates."""
    stats = library.stats()
    return {key: stats[key] for key in ("total_voices", "gender_distribution")}


def _names_by_id(mapping: JsonObject) -> dict[str, list[str]]:
    """By which names a mapping finds each voice."""
    names: dict[str, list[str]] = {}
    for name, voice_id in mapping.items():
        if isinstance(voice_id, str):
            names.setdefault(voice_id, []).append(name)
    return names


def _aliases(entries: Mapping[str, JsonObject], names: Mapping[str, list[str]]) -> dict[str, str]:
    """Further names of voices besides their own, by which they are found."""
    by_full_name, by_mapping = dict[str, str](), dict[str, str]()
    for voice_id, entry in entries.items():
        full_name, mapped = entry.get("name"), names.get(voice_id, [])
        if full_name is None and mapped == [entry.get("speaker_name")]:  # as of nearly every voice
            continue
        if isinstance(full_name, str) and _is_further(full_name, entry):
            by_full_name[full_name] = voice_id
        by_mapping |= {name: voice_id for name in mapped if _is_further(name, entry)}
    return by_full_name | by_mapping


def _is_further(name: str, entry: JsonObject) -> bool:
    """Whether a voice is to be found by a name that is not its own."""
    return name != entry.get("speaker_name") and readable(name) != "" and not is_former_name(name, entry)


def _renamed(entries: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """The entries of voices that were called otherwise before: few."""
    return {voice_id: entry for voice_id, entry in entries.items() if FORMER_NAMES in entry}
