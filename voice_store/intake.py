"""Voices that come into a store: what lies at a path, and keeping it.

At a path can lie, besides a recording or a folder of recordings:

- a store, also in the folder ``voice_embeddings`` of a copy of the predecessor's repository;
- what ``voice_store.export`` made, as a folder or a tar;
- voices of ElevenLabs: a JSON file as its API answers ``GET /v1/voices`` or ``GET /v1/voices/{voice_id}``,
  and the samples as ``GET /v1/voices/{voice_id}/samples/{sample_id}/audio`` sends them, see ``_samples_of``.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import stat
import tarfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Self, cast

from audio.decode import RECORDING_SUFFIXES
from audio.samples import MAX_SAMPLES
from audio.speed import FASTEST, SLOWEST
from audio.waveform import Waveform
from errors import InvalidRequest, StoreUnavailable, VoiceExists, WorkerError
from voice_store.export import FORMATS as EXPORT_FORMATS
from voice_store.export import MAX_AUDIO_BYTES, Description, decode_exported, parse_description
from voice_store.live import Timing
from voice_store.metadata import DATE_FORMAT, DETAILS, tidy_metadata
from voice_store.names import fold_name, readable
from voice_store.plain_files import PlainFile, reason
from voice_store.reader import StoreReader
from voice_store.saving import read_recording, read_samples
from voice_store.store import PutResult, VoiceStore

FATES = ADDED, ALREADY_THERE, LEFT_OUT = ("added", "already there", "left out")
MAX_MEMBERS = 400_000  # of a tar: twice as many files as any store has voices
MAX_JSON_BYTES = 2**22  # a hundred of ElevenLabs' voices take 1 MB, 500 pronunciations of one of ours 2 MB

_PREDECESSORS_STORE = "voice_embeddings"
# What the predecessor's repository calls the recordings in its folder ``voices``.
_PREDECESSORS_RECORDING = re.compile(r"clip-([^-]+?) - +(.+?) *-\d{4}_\d\d_\d\d(?:\(\d+\))?")
_GENDER = re.compile(r"\b(?:fe)?male\b", re.IGNORECASE)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")

_CUT_OFF = "its end is missing; what comes before has been read"
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_EXTENSION, _SPARSE = b"?", b"!"  # types that no tar has, and tarfile skips


@dataclass(frozen=True, eq=False)
class Arrival:
    """A voice that is to be kept."""

    waveform: Waveform
    details: Mapping[str, Any]  # arguments of ``VoiceStore.put``
    digest: str | None = None  # of the samples in the store they come from, where those here are rounded
    warnings: tuple[str, ...] = ()  # sentences about the recording


@dataclass(frozen=True, eq=False)
class Item:
    """What can become a voice."""

    label: str  # names it in what a person reads
    name: str  # what its voice is to be called
    load: Callable[[], Arrival]  # raises WorkerError; its sentence need not say which item it is about
    age: tuple[str, str] = ("", "")  # of two items of one name, the one with the higher value has it


@dataclass
class Source:
    """What lies at a path."""

    items: list[Item] = field(default_factory=list)  # no two of one name
    faults: list[str] = field(default_factory=list)  # sentences about what cannot become a voice
    passed_over: list[str] = field(default_factory=list)  # files, and why, where it is no matter of names
    warnings: list[str] = field(default_factory=list)  # sentences about items that can become voices

    def without_namesakes(self) -> Source:
        """Keeps one of several items of one name: the newest, as in a store, else the first."""
        by_age = sorted(self.items, key=lambda item: item.age, reverse=True)
        kept = {fold_name(item.name): item for item in reversed(by_age)}
        pairs = [(item, kept[fold_name(item.name)]) for item in self.items]
        faults = self.faults + [
            f'{item.label}: {other.label} has the same name, "{other.name}", and is kept instead'
            for item, other in pairs
            if item is not other
        ]
        items = [item for item, other in pairs if item is other]
        return Source(items, faults, self.passed_over, self.warnings)


@dataclass(frozen=True)
class Outcome:
    """What became of an item."""

    fate: str  # one of FATES
    text: str  # which voice it is; for one that was left out, which item
    warnings: tuple[str, ...] = ()
    error: WorkerError | None = None  # why it was left out


def find_items(path: Path) -> Source:
    """Finds what can become voices. Raises InvalidRequest if nothing can, StoreUnavailable, OSError."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        source = _in_folder(path)
    elif _is_recording(path, path):
        source = Source([_recording(path, PlainFile(path))])
    elif stat.S_ISREG(mode):
        source = _in_tar(path)
    else:
        raise InvalidRequest(f"{path} is neither a file nor a folder")
    if not source.items and not source.faults:
        raise InvalidRequest(f"{path} holds no voices", hint="give recordings, what export made, or a store")
    return source.without_namesakes()


def find_recordings(paths: Sequence[Path], name: str | None, details: Mapping[str, Any]) -> Source:
    """Finds the recordings at and below the paths, called ``name`` or, without one, as their files are."""
    source = Source()
    for path in paths:
        try:
            files = sorted(_files_below(path)) if path.is_dir() else [path]
        except OSError as error:
            source.faults.append(f"{error.filename}: it cannot be opened: {reason(error)}")
            continue
        items = []
        for file in files:
            if file is path or _is_recording(file, file):
                item = _recording(file, PlainFile(file), details)
                items.append(item if name is None else Item(item.label, name, item.load))
            else:
                source.passed_over.append(str(file))
        source.items += items
        if not items:
            source.faults.append(f"{path}: no recording is in it")
    return source


def as_samples(source: Source, name: str, details: Mapping[str, Any]) -> Source:
    """Makes one voice of all recordings of a source. Raises InvalidRequest for more than MAX_SAMPLES."""
    paths = [Path(item.label) for item in source.items]
    if len(paths) > MAX_SAMPLES:
        raise InvalidRequest(
            f"--samples takes at most {MAX_SAMPLES} recordings, not {len(paths)}",
            hint="name the best files: a folder is not a list of samples but all recordings in it",
        )
    files = {str(path): PlainFile(path) for path in paths}
    item = Item(name, name, lambda: _load_samples(files, name, details))
    return Source([item] if files else [], source.faults, source.passed_over)


def keep_all(items: Sequence[Item], root: Path, *, overwrite: bool, jobs: int) -> Iterator[Outcome]:
    """Puts the items into the store at ``root``; yields what became of each, in their order.

    jobs: how many threads read them. A caller that stops iterating stops the work.
    """
    store = VoiceStore(root, Timing(indexes_at_once=False))
    # Not processes: recordings are decoded in some already; zlib, numpy and hashlib release Python's lock.
    pool = ThreadPoolExecutor(jobs)
    try:
        yield from pool.map(functools.partial(_keep, store, overwrite), items)
    finally:
        pool.shutdown(cancel_futures=True)
        with suppress(StoreUnavailable):  # each item has said so
            VoiceStore(root, Timing(settle_s=0)).list()  # brings the indexes up to date


def _keep(store: VoiceStore, overwrite: bool, item: Item) -> Outcome:
    try:
        arrival = item.load()
        result = _put(store, item, arrival, overwrite)
    except WorkerError as error:
        return Outcome(LEFT_OUT, item.label, error=error)
    voice = result.voice
    warnings = arrival.warnings
    if not result.has_name:
        warnings += (f'{item.label}: another worker has just stored another voice named "{voice.name}"',)
    former_id = arrival.details.get("voice_id")
    ids = voice.voice_id if former_id in (None, voice.voice_id) else f"{voice.voice_id}, was {former_id}"
    text = f"{voice.name} ({ids}), {voice.waveform.duration_s:.1f} s"
    return Outcome(ADDED if result.created else ALREADY_THERE, text, warnings)


def _put(store: VoiceStore, item: Item, arrival: Arrival, overwrite: bool) -> PutResult:
    try:
        return store.put(arrival.waveform, item.name, overwrite=overwrite, **arrival.details)
    except VoiceExists:
        there = store.get(name=item.name)
        if there.digest == arrival.digest:  # the samples that the arriving ones were rounded from
            return PutResult(there, created=False)
        raise


def _recording(name: PurePath, file: PlainFile, details: Mapping[str, Any] | None = None) -> Item:
    """An item for one recording. name: of the file in its folder or tar."""

    def load() -> Arrival:
        waveform, warnings = read_recording(file, str(name))
        return Arrival(waveform, {**about, **(details or {}), "original_file": name.name}, warnings=warnings)

    stem = unicodedata.normalize("NFC", name.stem)
    about: dict[str, Any] = {}
    if match := _PREDECESSORS_RECORDING.fullmatch(stem):
        stem, about["description"] = match.groups()
        if gender := _GENDER.search(about["description"]):
            about["gender"] = gender[0].lower()
    return Item(str(name), stem, load)


def _load_samples(
    files: Mapping[str, PlainFile], label: str, details: Mapping[str, Any], *, skips_unusable: bool = False
) -> Arrival:
    waveform, warnings = read_samples(files, label, skips_unusable=skips_unusable)
    original = PurePath(next(iter(files))).name
    return Arrival(waveform, {**details, "original_file": original}, warnings=warnings)


def _in_folder(folder: Path) -> Source:
    store = next((root for root in (folder, folder / _PREDECESSORS_STORE) if _is_store(root)), None)
    if store is None:
        return _among({PurePath(file): PlainFile(file) for file in sorted(_files_below(folder))})
    source = _in_store(store)
    if store != folder:  # its voices were made of the recordings that lie beside it
        source.passed_over = [str(file) for file in sorted(_files_below(folder)) if _is_recording(file, file)]
    return source


def _is_store(root: Path) -> bool:
    return any((root / "embeddings").glob("*.pkl.gz"))


def _in_store(root: Path) -> Source:
    reader = StoreReader(root)

    def load(voice_id: str) -> Arrival:
        details = _details_of(reader.metadata(voice_id)) | {"voice_id": voice_id}
        return Arrival(reader.load(voice_id).waveform, details)

    source = Source()
    for voice_id, metadata in reader.library.voices.items():
        name, age = metadata["speaker_name"], (metadata["created_at"], voice_id)
        source.items.append(Item(f"{name} ({voice_id})", name, functools.partial(load, voice_id), age))
    nameless = (voice_id for voice_id in reader.voice_ids if voice_id not in reader.library.voices)
    source.faults += [f"{voice_id}: its file is damaged, and nothing says its name" for voice_id in nameless]
    return source


def _details_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what metadata says, as ``VoiceStore.put`` takes it; None for what it does not say."""
    details = {key: metadata[key] or None for key in (*DETAILS, "original_file")}
    if details["gender"] == "unknown":
        details["gender"] = None
    return details | {"created_at": _date(metadata["created_at"])}


def _date(text: str) -> str | None:
    """Returns a date as the store writes it; None for what is none."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime(DATE_FORMAT)
    return None


def _among(files: Mapping[PurePath, PlainFile], *, is_whole: bool = True) -> Source:
    """Finds exported voices, those of ElevenLabs, and recordings.

    files: of a folder or a tar. is_whole: whether no file is missing, so that what describes a recording
    would be there.
    """
    source = Source()
    recordings = [name for name, file in files.items() if _is_recording(name, file.path)]
    stems = {name.with_suffix("") for name in recordings}
    by_place = {
        (name.parent, readable(key)): name for name in reversed(recordings) for key in (name.stem, name.name)
    }
    described: set[PurePath] = set()  # stems of exported voices
    used: set[PurePath] = set()
    # By id: an answer about all voices may lie beside those about each.
    elevenlabs: dict[str, tuple[Item, list[str]]] = {}  # with warnings
    surplus: dict[PurePath, str] = {}  # samples that are not used, and why
    without_samples: dict[str, tuple[list[str], str]] = {}  # where to say it, and what
    for name, file in files.items():
        if name.suffix.lower() != ".json":
            continue
        stem = name.with_suffix("")
        try:
            content = _parse_json(file)
            description = parse_description(content)
        except WorkerError as error:
            if stem in stems:
                used |= {name, *map(name.with_suffix, RECORDING_SUFFIXES)}
                source.faults.append(f"{name}: {error.message}")
            continue
        if description is not None:
            audio = name.with_suffix(_audio_suffix(description))
            described.add(stem)
            used.update((name, audio))
            if audio in files:
                source.items.append(_exported(audio, files[audio], description))
            elif is_whole:
                source.faults.append(f"{name}: {audio.name}, which it describes, is missing")
        for voice in _elevenlabs_voices(content):
            samples, missing = _samples_of(voice, name, by_place)
            used.update((name, *samples[:MAX_SAMPLES]))
            says = f"{voice['name']} has more than {MAX_SAMPLES} samples"
            surplus.update((sample, f"{sample}: {says}") for sample in samples[MAX_SAMPLES:])
            if samples:
                item = _elevenlabs_item(voice, {sample: files[sample] for sample in samples[:MAX_SAMPLES]})
                warnings = [
                    f"{name}: the sample {sample} of {voice['name']} is missing" for sample in missing
                ]
                warnings += _warnings_of_speed(voice, name)
                elevenlabs.setdefault(voice["voice_id"], (item, warnings))
            else:
                place = source.faults if voice["samples"] else source.passed_over
                rest = f" and {len(missing) - MAX_SAMPLES} more" if len(missing) > MAX_SAMPLES else ""
                listed = f": {', '.join(missing[:MAX_SAMPLES])}{rest}" if missing else ""
                says = f"{name}: no sample of {voice['name']} is beside it{listed}"
                without_samples[voice["voice_id"]] = (place, says)
        source.passed_over += _entries_without_voice(content, name)
    for item, warnings in elevenlabs.values():
        source.items.append(item)
        source.warnings += warnings
    source.passed_over += [says for sample, says in surplus.items() if sample not in used]
    used |= surplus.keys()
    for voice_id, (place, says) in without_samples.items():
        if voice_id not in elevenlabs:
            place.append(says)
    for name in recordings:
        if is_whole and name not in used and name.with_suffix("") not in described:
            used.add(name)
            source.items.append(_recording(name, files[name]))
    source.passed_over += [str(name) for name in files if name not in used]
    return source


def _parse_json(file: PlainFile) -> object:
    data = file.read(MAX_JSON_BYTES, "it")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("it is damaged: it is not JSON") from error


def _audio_suffix(description: Description) -> str:
    """Only a file beside its description, and called like it, is meant: the name in there may be anything."""
    suffix = PurePath(description.audio_file).suffix
    return suffix if suffix.removeprefix(".") in EXPORT_FORMATS else f".{EXPORT_FORMATS[0]}"


def _exported(name: PurePath, file: PlainFile, description: Description) -> Item:
    def load() -> Arrival:
        waveform = decode_exported(file.read(MAX_AUDIO_BYTES, "its audio"), description)
        details = _details_of(description.metadata) | {"voice_id": description.voice_id}
        return Arrival(waveform, details, digest=description.digest)

    speaker = str(description.metadata["speaker_name"])
    age = (description.metadata["created_at"], description.voice_id or "")
    return Item(f"{speaker} ({name})", speaker, load, age)


def _elevenlabs_voices(content: object) -> Iterator[dict[str, Any]]:
    """Yields the voices in an answer of ElevenLabs' API, whose JavaScript client spells keys otherwise."""
    listed = content.get("voices", content) if isinstance(content, dict) else content
    entries = listed if isinstance(listed, list) else [listed]
    yield from (voice for voice in map(_elevenlabs_voice, entries) if voice is not None)


def _elevenlabs_voice(entry: object) -> dict[str, Any] | None:
    voice = _snake_case(entry)
    known = {key: readable(voice.get(key)) for key in ("voice_id", "name")}
    samples = voice.get("samples", "")  # None for voices that were not cloned
    if not all(known.values()) or not isinstance(samples, list | None):
        return None
    return {**voice, **known, "samples": list(map(_snake_case, samples or []))}


def _entries_without_voice(content: object, json_file: PurePath) -> Iterator[str]:
    """Yields sentences about the entries of a list of voices that are none."""
    listed = content.get("voices") if isinstance(content, dict) else content
    voices = list(map(_elevenlabs_voice, listed)) if isinstance(listed, list) else []
    if any(voices):  # else the file is something else
        for number, voice in enumerate(voices, start=1):
            if voice is None:
                yield f"{json_file}: entry {number} is no voice, which has voice_id, name and samples"


def _warnings_of_speed(voice: Mapping[str, Any], json_file: PurePath) -> list[str]:
    speed = _snake_case(voice.get("settings")).get("speed")
    if speed is None or _is_speed(speed):
        return []
    says = f"settings.speed of {voice['name']} is no number from {SLOWEST:g} to {FASTEST:g} and is left out"
    return [f"{json_file}: {says}"]


def _is_speed(value: object) -> bool:
    return type(value) in (int, float) and SLOWEST <= cast("float", value) <= FASTEST


def _snake_case(value: object) -> dict[str, Any]:
    known = value if isinstance(value, dict) else {}
    return {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key): known[key] for key in known}


def _samples_of(
    voice: Mapping[str, Any], json_file: PurePath, by_place: Mapping[tuple[PurePath, str], PurePath]
) -> tuple[list[PurePath], list[str]]:
    """Returns the recordings of a voice, and the names of the samples that have no file.

    They lie in a folder called like the voice's id or name, beside the JSON file, or in a folder ``samples``
    in one of these places. A sample is called by its ``sample_id``, with any ending, or its ``file_name``.
    Without samples, a recording counts that is called by the voice's id, its name, or like the JSON file.
    """
    own_names = (voice["voice_id"], voice["name"])
    parents = [json_file.parent / name for name in own_names if PurePath(name).name == name]
    places = [place for parent in (*parents, json_file.parent) for place in (parent, parent / "samples")]

    def find(*names: object) -> PurePath | None:
        keys = itertools.product(places, map(readable, names))
        return next((by_place[key] for key in keys if key in by_place), None)

    samples = [find(sample.get("sample_id"), sample.get("file_name")) for sample in voice["samples"]]
    missing = [
        readable(sample.get("file_name")) or readable(sample.get("sample_id")) or "without a name"
        for sample, file in zip(voice["samples"], samples, strict=True)
        if file is None
    ]
    found = samples if any(samples) else [find(*own_names, json_file.stem)]
    return list(dict.fromkeys(sample for sample in found if sample is not None)), missing


def _elevenlabs_item(voice: Mapping[str, Any], samples: Mapping[PurePath, PlainFile]) -> Item:
    """An item with the voice's details: its labels become gender, language and tags, its id an alias."""
    labels, speed = _snake_case(voice.get("labels")), _snake_case(voice.get("settings")).get("speed")
    languages = voice.get("verified_languages")
    language = labels.pop("language", None)
    if language is None and isinstance(languages, list) and languages:
        language = _snake_case(languages[0]).get("language")
    said = {
        "description": voice.get("description"),
        "gender": labels.pop("gender", None),
        "language": language,
        "tags": list(labels.values()),
        "aliases": [voice["voice_id"]],
        "default_parameters": {"speed": speed} if _is_speed(speed) and speed != 1 else {},
    }
    with suppress(TypeError, ValueError, OverflowError, OSError):
        said["created_at"] = datetime.fromtimestamp(voice.get("created_at_unix", ""), UTC).isoformat()
    details = _details_of(tidy_metadata("", said))  # whose values may be anything
    files = {str(sample): file for sample, file in samples.items()}
    label = f"{voice['name']} ({voice['voice_id']})"
    age = (details["created_at"] or "", voice["voice_id"])
    load = functools.partial(_load_samples, files, label, details, skips_unusable=True)
    return Item(label, voice["name"], load, age)


class _DamagedTarError(Exception):
    """Its text is a sentence about the tar."""


class _Member(tarfile.TarInfo):
    """A header of a tar that a stranger may have made.

    ``tarfile`` reads what extends the header of the next member (pax, GNU long names, sparse files) into
    memory, whatever its length, follows chains of such headers by recursion, goes back where a size is
    negative, and takes damage for the end. Here those are members of an unknown type, which are skipped.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) < tarfile.BLOCKSIZE:
            raise _DamagedTarError(_CUT_OFF)
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):
                raise  # the end
            raise _DamagedTarError("it is damaged in the middle; what comes before has been read") from error
        if member.size < 0:
            raise _DamagedTarError(
                "it is damaged: a file in it has a negative size; what comes before has been read"
            )
        if member.type in _EXTENSIONS:
            member.type = _EXTENSION
        elif member.type == tarfile.GNUTYPE_SPARSE:
            member.type = _SPARSE
        return member


def _in_tar(path: Path) -> Source:
    """Finds what is in a tar, up to the first place where it is damaged, without extracting anything."""
    files: dict[PurePath, PlainFile] = {}
    faults, refused = list[str](), 0
    with path.open("rb") as file:
        if file.read(6).startswith(_COMPRESSED):
            return Source(faults=[f"{path}: it is compressed; unpack it first, to a tar or a folder"])
        file.seek(0)
        end = os.fstat(file.fileno()).st_size
        try:
            with tarfile.open(fileobj=file, mode="r:", tarinfo=_Member, encoding="utf-8") as tar:
                for count, member in enumerate(iter(tar.next, None)):
                    if count == MAX_MEMBERS:
                        faults.append(f"{path}: only its first {MAX_MEMBERS:,} files were looked at")
                        break
                    if member.offset_data + member.size > end:
                        raise _DamagedTarError(_CUT_OFF)
                    if _is_safe_file(member):
                        name = PurePath(member.name)  # of two that have one name, the later, as tar does it
                        if not name.name.startswith("."):  # as in a folder
                            files[name] = PlainFile(path, member.offset_data, member.size)
                    elif not member.isdir() and member.type != _EXTENSION:
                        refused += 1
                    tar.members.clear()  # type: ignore[attr-defined]  # all would stay in memory
        except (_DamagedTarError, tarfile.TarError) as error:
            says = str(error) if isinstance(error, _DamagedTarError) else _CUT_OFF
            faults.append(f"{path}: {says if files else 'it is damaged, or is no tar'}")
    source = _among(files, is_whole=not faults)
    if refused:
        faults.append(f"{path}: {refused} links, devices or paths that lead out of it were left out")
    source.faults += faults
    return source


def _is_safe_file(member: tarfile.TarInfo) -> bool:
    with suppress(tarfile.FilterError):
        return member.isreg() and tarfile.data_filter(member, "/nowhere").name == member.name
    return False


def _files_below(folder: Path) -> Iterator[Path]:
    """The files in a folder at any depth, and links to folders, which are not entered. Raises OSError.

    Hidden files are left out: macOS puts a "._x.wav" beside each x.wav on foreign disks.
    """

    def stop(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=stop):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in (*files, *links) if not name.startswith("."))


def _is_recording(name: PurePath, path: Path) -> bool:
    """Tells whether a file is called like one of those that can be decoded, and is no link to a folder."""
    return name.suffix.lower() in RECORDING_SUFFIXES and not path.is_dir()
