"""Voices outside a store: for each a file that any player plays, and a JSON file that says the rest.

<stem>.wav     32-bit float: the very samples, so the voice comes back with the same digest and id
<stem>.flac    24 bit: half the size; what is finer than that, or beyond full scale, is lost
<stem>.json    the voice's metadata, and what ``Description`` lists

They lie in a folder or in a tar.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from audio.encode import encode_lossless
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import InvalidRequest, StoreCorrupt, VoiceNotFound, WorkerError
from voice_store.files import Folder, NotAPlainFileError
from voice_store.metadata import tidy_metadata
from voice_store.names import is_voice_id
from voice_store.plain_files import reason
from voice_store.reader import StoreReader
from voice_store.samples import MAX_DURATION_S

FORMATS = ("wav", "flac")
TAR_SUFFIX = ".tar"
MAX_AUDIO_BYTES = 2**26  # ten minutes of 32-bit samples at 24 kHz, which is what the store takes

_KIND = "chatterbox voice"
_VERSION = 1
_LONGEST_STEM = 64
_NOT_OF_THE_VOICE = ("embedding_file", "type")  # where a store keeps it, and how
_IEEE_FLOAT = 3  # WAVE_FORMAT_IEEE_FLOAT
_ENCODINGS = frozenset({("WAV", "FLOAT"), ("FLAC", "PCM_24")})

# Writes the files of a voice. Raises InvalidRequest when others are in their place, and OSError.
Write = Callable[[Mapping[str, bytes]], None]


@dataclass(frozen=True)
class Description:
    """What the JSON file of an exported voice says."""

    metadata: Mapping[str, Any]  # see ``VoiceStore.metadata``
    voice_id: str | None  # None when the file gives none that could be one
    digest: str  # of the voice's samples in the store that exported them
    audio_file: str  # name of the file beside this one
    audio_sha256: str  # of that file


def export_voices(
    reader: StoreReader, voice_ids: Sequence[str], write: Write, format: str
) -> Iterator[tuple[str, WorkerError] | None]:
    """Writes the voices one by one; yields for each None, or which voice it is and why it is left out.

    format: one of FORMATS. Raises OSError when the target cannot be written.
    """
    for voice_id in voice_ids:
        metadata = reader.metadata(voice_id)
        try:
            waveform = reader.load(voice_id).waveform
            stem = _file_stem(voice_id)
            audio_file = f"{stem}.{format}"
            audio = encode_lossless(waveform) if format == "flac" else _encode_float_wav(waveform)
            said = {key: value for key, value in metadata.items() if key not in _NOT_OF_THE_VOICE}
            description = {
                "kind": _KIND,
                "version": _VERSION,
                **said,
                "digest": waveform.digest(),
                "audio_file": audio_file,
                "audio_sha256": hashlib.sha256(audio).hexdigest(),
            }
            text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
            write({f"{stem}.json": text.encode(), audio_file: audio})
        except (StoreCorrupt, VoiceNotFound, InvalidRequest) as error:
            yield f"{metadata['speaker_name']} ({voice_id})", error
        else:
            yield None


@contextmanager
def open_target(path: Path, *, replaces: bool) -> Iterator[Write]:
    """Opens a tar if the path says so, else a folder, which is made if need be.

    replaces: whether other files give way; else they stay. A tar has its name only once it is whole.
    Raises InvalidRequest when a tar would take the place of something, or what is here cannot be written.
    """
    try:
        if path.suffix.lower() == TAR_SUFFIX:
            with _open_tar(path, replaces) as write:
                yield write
        else:
            path.mkdir(parents=True, exist_ok=True)
            folder = Folder(path, may_be_link=True)
            yield lambda files: _write_to_folder(folder, files, replaces)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {reason(error)}") from error


def parse_description(content: object) -> Description | None:
    """Returns what a JSON file says about an exported voice; None if it is about something else.

    Raises InvalidRequest for a version of the future.
    """
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        return None
    if content.get("version") != _VERSION:
        raise InvalidRequest("it was written by a newer version of this program", hint="import it with that")
    claimed_id = content.get("voice_id")
    voice_id = claimed_id if isinstance(claimed_id, str) and is_voice_id(claimed_id) else None
    texts = (content.get(key) for key in ("digest", "audio_file", "audio_sha256"))
    digest, audio_file, audio_sha256 = (text if isinstance(text, str) else "" for text in texts)
    return Description(tidy_metadata(voice_id or "", content), voice_id, digest, audio_file, audio_sha256)


def decode_exported(data: bytes, description: Description) -> Waveform:
    """Decodes the audio file of an exported voice. Raises InvalidRequest unless it is what was described."""
    if hashlib.sha256(data).hexdigest() != description.audio_sha256:
        raise InvalidRequest(
            "its audio is not what was exported: it is damaged or was edited",
            hint="keep it as a new voice with add",
        )
    if not data.startswith((b"RIFF", b"fLaC")):  # libsndfile would try two dozen formats
        raise InvalidRequest("its audio is neither WAV nor FLAC")
    max_frames = round(MAX_DURATION_S * MODEL_SAMPLE_RATE_HZ)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            is_ours = (file.format, file.subtype) in _ENCODINGS and file.channels == 1
            if not is_ours or file.samplerate != MODEL_SAMPLE_RATE_HZ or not 0 < file.frames <= max_frames:
                raise InvalidRequest("its audio is of a kind that no export makes", hint="keep it with add")
            samples = file.read(max_frames, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise InvalidRequest("its audio cannot be decoded") from error
    return Waveform(samples, MODEL_SAMPLE_RATE_HZ)


def _file_stem(voice_id: str) -> str:
    """Returns what a voice's files are called: its id, unless an old program made that up of anything."""
    if voice_id.isascii() and len(voice_id) <= _LONGEST_STEM:
        return voice_id
    return f"voice-{hashlib.sha256(voice_id.encode()).hexdigest()[:16]}"


def _encode_float_wav(waveform: Waveform) -> bytes:
    """Encodes as in Microsoft's "Multiple Channel Audio Data and WAVE Files", for a format that is not PCM.

    libsndfile writes the time of day into a file of floats; these bytes depend on the samples alone.
    """
    samples = waveform.samples.astype("<f4").tobytes()
    rate_hz = waveform.sample_rate_hz
    chunks = (
        (b"fmt ", struct.pack("<HHIIHHH", _IEEE_FLOAT, 1, rate_hz, 4 * rate_hz, 4, 32, 0)),
        (b"fact", struct.pack("<I", len(waveform.samples))),
        (b"data", samples),
    )
    body = b"WAVE" + b"".join(name + struct.pack("<I", len(chunk)) + chunk for name, chunk in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@contextmanager
def _open_tar(path: Path, replaces: bool) -> Iterator[Write]:
    if path.is_dir() or (not replaces and os.path.lexists(path)):
        raise InvalidRequest(f"{path} is there already", hint="--force replaces a file")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                yield lambda files: _write_to_tar(tar, files)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        Folder(path.parent, may_be_link=True).sync()
    finally:
        temporary.unlink(missing_ok=True)


def _write_to_tar(tar: tarfile.TarFile, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def _write_to_folder(folder: Folder, files: Mapping[str, bytes], replaces: bool) -> None:
    missing = {name: data for name, data in files.items() if not _holds(folder, name, data)}
    taken = [name for name in missing if folder.has(name)]
    if taken and not replaces:
        raise InvalidRequest(f"another {taken[0]} is in that folder", hint="--force replaces it")
    for name, data in missing.items():
        folder.replace(name, data)


def _holds(folder: Folder, name: str, data: bytes) -> bool:
    with suppress(FileNotFoundError, NotAPlainFileError):
        return folder.read(name, len(data)) == data
    return False
