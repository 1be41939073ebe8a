"""Are the indexes of a store as its voices say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from voice_store.files import Folder, Stamp
from voice_store.health.problems import CONDITIONALS, METADATA, REVISIONS, Problem, Remedy
from voice_store.housekeeping import LEFTOVER_AFTER_S
from voice_store.indexes import MAX_INDEX_BYTES
from voice_store.json_files import DamagedJsonError, JsonObject, parse_object
from voice_store.metadata_files import MAX_METADATA_BYTES
from voice_store.reader import StoreReader

CATALOG, MAPPING, STATS = INDEXES = ("voice_catalog.json", "name_mapping.json", "stats.json")

_NO_JSON = "is damaged: it is no JSON file"


def check_indexes(reader: StoreReader) -> list[Problem]:
    """Catalog, mapping, stats, metadata, and what is left of deleted voices. Raises OSError."""
    return [*_check_index_files(reader), *_check_metadata(reader), *_check_traces(reader)]


def index_files(root: Path) -> Iterator[Stamp | None]:
    """The stamps of catalog, mapping, stats and of the folders that change when a voice does."""
    folder = Folder(root, may_be_link=True)
    yield from map(folder.stamp_of, (*INDEXES, "embeddings", "revisions", "deleted"))


def is_damaged_json(folder: Folder, name: str, max_bytes: int) -> bool:
    try:
        parse_object(folder, name, max_bytes)
    except DamagedJsonError:
        return True
    return False


def _check_index_files(reader: StoreReader) -> Iterator[Problem]:
    folder = reader.folder
    compared = reader.indexes.compare(reader.listing, reader.library)
    for name, (there, wanted) in compared.items():
        if is_damaged_json(folder, name, MAX_INDEX_BYTES):
            yield Problem(
                "", name, "is damaged: it is no JSON file", Remedy.QUARANTINE, folder.stamp_of(name)
            )
        elif reader.listing.voice_ids and not folder.has(name):
            yield Problem("", name, "is missing", Remedy.REBUILD)
        elif there != wanted and folder.has(name):
            for says in _DIFFERENCES[name](reader, there, wanted):
                yield Problem("", name, says, Remedy.REBUILD)


def _compare_catalogs(reader: StoreReader, there: JsonObject, wanted: JsonObject) -> Iterator[str]:
    for voice_id in sorted(wanted.keys() - there.keys()):
        yield f'voice {voice_id}, "{reader.metadata(voice_id)["speaker_name"]}", is missing'
    for voice_id in sorted(there.keys() - wanted.keys()):
        yield f"voice {voice_id} is listed and is not there"
    for voice_id in sorted(there.keys() & wanted.keys()):
        if there[voice_id] != wanted[voice_id]:
            yield f"what it says about voice {voice_id} is out of date or incomplete"


def _compare_mappings(reader: StoreReader, there: JsonObject, wanted: JsonObject) -> Iterator[str]:
    for name in sorted(wanted.keys() - there.keys()):
        yield f'the name "{name}" of voice {wanted[name]} is missing'
    for name in sorted(there.keys() - wanted.keys()):
        yield f'the name "{name}" leads to voice {there[name]}, which is not there or has another name now'
    for name in sorted(there.keys() & wanted.keys()):
        if there[name] != wanted[name]:
            yield f'the name "{name}" leads to voice {there[name]} instead of {wanted[name]}'


def _compare_stats(reader: StoreReader, there: JsonObject, wanted: JsonObject) -> Iterator[str]:
    counted = there.get("total_voices")
    yield f"it counts {counted} voices, or other genders than the {wanted['total_voices']} have"


_DIFFERENCES = {CATALOG: _compare_catalogs, MAPPING: _compare_mappings, STATS: _compare_stats}


def _check_metadata(reader: StoreReader) -> Iterator[Problem]:
    folder = reader.indexes.metadata.folder
    if folder.path.is_symlink() or folder.path.is_file():  # which is a problem of its own
        return
    for voice_id in reader.library.voices:
        name = f"{voice_id}.json"
        if not folder.has(name):
            yield Problem(METADATA, name, "is missing", Remedy.REBUILD)
        elif is_damaged_json(folder, name, MAX_METADATA_BYTES):
            yield Problem(METADATA, name, _NO_JSON, Remedy.QUARANTINE, folder.stamp_of(name))


def _check_traces(reader: StoreReader) -> Iterator[Problem]:
    """Files about voices that were deleted, and metadata of voices that are gone some other way."""
    voices, gone = reader.voices, reader.listing.gone()
    if voices.metadata.folder.path.is_symlink() or voices.metadata.folder.path.is_file():
        return
    says = "is about a voice that was deleted"
    for voice_id in sorted(voices.metadata.ids() & gone):
        yield Problem(METADATA, f"{voice_id}.json", says, Remedy.TIDY)
    for voice_id, number in sorted(voices.revisions.latest().items()):
        if voice_id in gone:
            yield Problem(REVISIONS, f"{voice_id}.{number}.json", says, Remedy.TIDY)
    for voice_id, name in voices.shelves.files():
        if voice_id in gone:
            yield Problem(CONDITIONALS, name, says, Remedy.TIDY)
    if reader.listing.voice_ids:  # as for who tidies up: an empty folder may be a volume that is not there
        known = {*reader.listing.voice_ids, *reader.listing.deleted}
        for voice_id in voices.metadata.orphans(known, LEFTOVER_AFTER_S):
            yield Problem(METADATA, f"{voice_id}.json", "is about a voice that is not there", Remedy.TIDY)
