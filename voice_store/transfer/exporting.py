"""Voices of a store as files for people and other stores: in a folder or in a tar."""

from __future__ import annotations

import io
import os
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from errors import InvalidRequest, StoreCorrupt, VoiceNotFound, WorkerError
from voice_store.files import Folder, NotAPlainFileError
from voice_store.plain_files import reason
from voice_store.reader import StoreReader
from voice_store.transfer.description import describe, encode_audio, file_stem

TAR_SUFFIX = ".tar"


class Target(Protocol):
    """Where voices go, one at a time."""

    def add(self, files: Mapping[str, bytes]) -> None:
        """Writes the files of a voice. Raises InvalidRequest when others are in their place, and OSError."""


def export_voices(
    reader: StoreReader, voice_ids: Sequence[str], target: Target, format: str
) -> Iterator[tuple[str, WorkerError] | None]:
    """Writes each voice to the target; for each None, or which voice it is and why it is not there.

    format: one of FORMATS. Raises OSError when the target cannot be written.
    """
    for voice_id in voice_ids:
        metadata = reader.metadata(voice_id)
        try:
            waveform = reader.load(voice_id).waveform
            stem = file_stem(voice_id)
            audio_file, audio = f"{stem}.{format}", encode_audio(waveform, format)
            description = describe(metadata, waveform.digest(), audio_file, audio)
            target.add({f"{stem}.json": description, audio_file: audio})
        except (StoreCorrupt, VoiceNotFound, InvalidRequest) as fault:
            yield f"{metadata['speaker_name']} ({voice_id})", fault
        else:
            yield None


@contextmanager
def open_target(path: Path, *, replaces: bool) -> Iterator[Target]:
    """A tar if the path says so, else a folder, made if need be.

    replaces: whether other files give way; else they stay. A tar has its name only once it is whole.
    Raises InvalidRequest when a tar would take the place of something, or what is here cannot be written.
    """
    try:
        if path.suffix.lower() == TAR_SUFFIX:
            with _open_tar(path, replaces) as tar:
                yield tar
        else:
            path.mkdir(parents=True, exist_ok=True)
            yield _FolderTarget(Folder(path, may_be_link=True), replaces)
    except OSError as fault:
        raise InvalidRequest(f"{path} cannot be written: {reason(fault)}") from fault


@contextmanager
def _open_tar(path: Path, replaces: bool) -> Iterator[Target]:
    if path.is_dir() or (not replaces and os.path.lexists(path)):
        raise InvalidRequest(f"{path} is there already", hint="--force replaces a file")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                yield _TarTarget(tar)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        Folder(path.parent, may_be_link=True).sync()
    finally:
        temporary.unlink(missing_ok=True)


class _FolderTarget:
    def __init__(self, folder: Folder, replaces: bool) -> None:
        self._folder = folder
        self._replaces = replaces

    def add(self, files: Mapping[str, bytes]) -> None:
        missing = {name: data for name, data in files.items() if not self._holds(name, data)}
        taken = [name for name in missing if self._folder.has(name)]
        if taken and not self._replaces:
            raise InvalidRequest(f"another {taken[0]} is in that folder", hint="--force replaces it")
        for name, data in missing.items():
            self._folder.replace(name, data)

    def _holds(self, name: str, data: bytes) -> bool:
        with suppress(FileNotFoundError, NotAPlainFileError):
            return self._folder.read(name, len(data)) == data
        return False


class _TarTarget:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def add(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            self._tar.addfile(entry, io.BytesIO(data))
