"""What lies at a path: a store, a tar or a folder that was exported, recordings."""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from audio.decode import RECORDING_SUFFIXES
from errors import InvalidRequest, WorkerError
from voice_store.names import fold_name
from voice_store.plain_files import (
    UnreadableFileError,
    find_recordings,
    is_recording,
    read_plain_file,
    reason,
)
from voice_store.reader import StoreReader
from voice_store.transfer.description import (
    FORMATS,
    MAX_DESCRIPTION_BYTES,
    Description,
    parse_description,
)
from voice_store.transfer.items import Exported, Item, Recording, Stored
from voice_store.transfer.tar_members import find_members


@dataclass
class Source:
    """What lies at a path."""

    items: list[Item] = field(default_factory=list)  # what can become voices, no two of one name
    faults: list[str] = field(default_factory=list)  # sentences about what cannot
    passed_over: list[str] = field(default_factory=list)  # files that are no recordings by their names

    def without_namesakes(self) -> Source:
        """Only one of several items of one name: the newest, as in a store, else the first."""
        chosen: dict[str, Item] = {}
        faults = list(self.faults)
        for item in self.items:
            key = fold_name(item.name)
            there = chosen.setdefault(key, item)
            if there is item:
                continue
            kept, left = (item, there) if item.age > there.age else (there, item)
            chosen[key] = kept
            faults.append(f'{left.label}: {kept.label} has the same name, "{kept.name}", and is kept instead')
        return Source(list(chosen.values()), faults, self.passed_over)


def find_items(path: Path) -> Source:
    """Raises InvalidRequest for a path that holds nothing of the kind, StoreUnavailable, OSError."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        source = _in_store(path) if _is_store(path) else _in_folder(path)
    elif is_recording(path):
        source = Source([Recording(path, _name_of(path))])
    elif stat.S_ISREG(mode):
        source = _in_tar(path)
    else:
        raise InvalidRequest(f"{path} is neither a file nor a folder")
    if not source.items and not source.faults:
        raise InvalidRequest(f"{path} holds no voices", hint="give recordings, what export made, or a store")
    return source.without_namesakes()


def find_named_recordings(
    paths: Sequence[Path], name: str | None = None, details: Mapping[str, Any] | None = None
) -> Source:
    """Those at and below the paths, called ``name`` or, without one, as their files are."""
    source = Source()
    for path in paths:
        try:
            files, others = find_recordings(path)
        except OSError as fault:
            source.faults.append(f"{fault.filename}: it cannot be opened: {reason(fault)}")
            continue
        if not files:
            source.faults.append(f"{path}: no recording is in it")
        source.passed_over += map(str, others)
        source.items += [Recording(file, name or _name_of(file), details or {}) for file in files]
    return source.without_namesakes()


def _is_store(path: Path) -> bool:
    return any((path / "embeddings").glob("*.pkl.gz"))


def _in_store(root: Path) -> Source:
    reader = StoreReader(root)
    voices = reader.library.voices
    nameless = (voice_id for voice_id in reader.voice_ids if voice_id not in voices)
    return Source(
        [Stored(root, voice_id, metadata) for voice_id, metadata in voices.items()],
        [f"{voice_id}: its file is damaged, and nothing says its name" for voice_id in nameless],
    )


def _in_folder(folder: Path) -> Source:
    """Recordings, and what was exported, wherever in the folder either lies."""
    source = Source()
    described: set[Path] = set()  # stems of files that belong together
    descriptions: set[Path] = set()
    for file in sorted(path for path in folder.rglob("*.json") if not path.name.startswith(".")):
        stem = file.with_suffix("")
        try:
            description = parse_description(read_plain_file(file, MAX_DESCRIPTION_BYTES))
        except (UnreadableFileError, WorkerError) as fault:
            if any(stem.with_name(stem.name + suffix).exists() for suffix in RECORDING_SUFFIXES):
                described.add(stem)
                descriptions.add(file)
                source.faults.append(f"{file}: {_sentence_of(fault)}")
            continue
        if description is None:
            continue
        described.add(stem)
        descriptions.add(file)
        audio = file.with_name(_audio_name(stem.name, description))
        if audio.exists():
            source.items.append(Exported(str(audio), description, audio))
        else:
            source.faults.append(f"{file}: {audio.name}, which it describes, is missing")
    recordings, others = find_recordings(folder)
    source.passed_over += [str(file) for file in others if file not in descriptions]
    for recording in recordings:
        if recording.with_suffix("") not in described:
            source.items.append(Recording(recording, _name_of(recording)))
    return source


def _in_tar(path: Path) -> Source:
    members = find_members(path)
    source = Source()
    described: set[str] = set()
    descriptions: set[str] = set()
    for name, member in members.files.items():
        stem, suffix = name.removesuffix(".json"), PurePosixPath(name).suffix
        if suffix != ".json":
            continue
        try:
            data = read_plain_file(path, MAX_DESCRIPTION_BYTES, member.start, member.size)
            description = parse_description(data)
        except (UnreadableFileError, WorkerError) as fault:
            source.faults.append(f"{name}: {_sentence_of(fault)}")
            descriptions.add(name)
            described.update(f"{stem}.{format}" for format in FORMATS)
            continue
        if description is None:
            continue
        descriptions.add(name)
        audio_name = str(PurePosixPath(name).with_name(_audio_name(PurePosixPath(stem).name, description)))
        described.add(audio_name)
        audio = members.files.get(audio_name)
        if audio is not None:
            source.items.append(Exported(audio_name, description, path, audio.start, audio.size))
        elif members.is_whole:
            source.faults.append(f"{name}: {audio_name}, which it describes, is missing")
    source.faults += [
        f"{name}: no JSON file describes it"
        for name in members.files
        if is_recording(PurePosixPath(name)) and name not in described
    ]
    source.passed_over += [
        name for name in members.files if not is_recording(PurePosixPath(name)) and name not in descriptions
    ]
    source.faults += [f"{path}: {fault}" for fault in members.faults]
    return source


def _sentence_of(fault: UnreadableFileError | WorkerError) -> str:
    return fault.message if isinstance(fault, WorkerError) else f"it {fault}"


def _audio_name(stem: str, description: Description) -> str:
    """Only a file beside its description, and called like it, is meant: the name in there may be anything."""
    suffix = PurePosixPath(description.audio_file).suffix
    return f"{stem}{suffix}" if suffix.removeprefix(".") in FORMATS else f"{stem}.{FORMATS[0]}"


def _name_of(recording: Path) -> str:
    return unicodedata.normalize("NFC", recording.stem)
