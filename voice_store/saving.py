"""From recordings and arrays to stored voices, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from audio.decode import MAX_ENCODED_BYTES, decode_audio
from audio.quality import check_reference, trim_silence
from audio.samples import join_best
from audio.waveform import Waveform
from errors import ReferenceInvalid, WorkerError
from voice_store.metadata import embedding_file
from voice_store.plain_files import PlainFile
from voice_store.samples import to_waveform
from voice_store.store import VoiceStore

MAX_JOINED_S = 30.0


def save_voice_embedding(
    audio_array: ArrayLike,
    sample_rate: int,
    voice_name: str,
    embeddings_dir: str | Path = "voice_embeddings",
    voice_description: str | None = None,
    gender: str | None = None,
    original_file: str | None = None,
) -> dict[str, Any]:
    """Keeps an array of samples as a voice in the store at ``embeddings_dir``.

    audio_array: float, int16 or int32, [n], [n, channels] or [channels, n].
    sample_rate: of the array, in Hz; the voice is kept at 24 kHz.

    Returns success (True), voice_id, voice_name, embedding_file and metadata_file (paths), duration (s) and
    sample_rate (Hz) as they are kept. Raises ReferenceInvalid for an array that is no audio, and what
    ``VoiceStore.put`` raises.
    """
    try:
        waveform = to_waveform(np.asarray(audio_array), int(sample_rate))
    except ValueError as error:
        raise ReferenceInvalid(f"cannot be used: {error}", field="audio_array") from error
    folder = Path(embeddings_dir)
    voice = (
        VoiceStore(folder)
        .put(waveform, voice_name, description=voice_description, gender=gender, original_file=original_file)
        .voice
    )
    return {
        "success": True,
        "voice_id": voice.voice_id,
        "voice_name": voice.name,
        "embedding_file": str(folder / embedding_file(voice.voice_id)),
        "metadata_file": str(folder / "metadata" / f"{voice.voice_id}.json"),
        "duration": voice.waveform.duration_s,
        "sample_rate": voice.waveform.sample_rate_hz,
    }


def save_voice_from_file(
    audio_file_path: str | Path,
    voice_name: str,
    embeddings_dir: str | Path = "voice_embeddings",
    voice_description: str | None = None,
    gender: str | None = None,
) -> dict[str, Any]:
    """Keeps a recording (WAV, FLAC, OGG, Opus or MP3) as a voice, without the silence around it.

    Returns and raises what ``save_voice_embedding`` does, and ReferenceInvalid or ReferenceTooShort for a
    recording that no voice can be made of.
    """
    path = Path(audio_file_path)
    waveform, _ = read_recording(PlainFile(path), "audio_file_path")
    rate_hz = waveform.sample_rate_hz
    return save_voice_embedding(
        waveform.samples, rate_hz, voice_name, embeddings_dir, voice_description, gender, path.name
    )


def read_recording(file: PlainFile, field: str) -> tuple[Waveform, tuple[str, ...]]:
    """Returns the speech in a recording at 24 kHz, and warnings about its quality; errors name ``field``.

    Raises InvalidRequest, ReferenceInvalid, ReferenceTooShort.
    """
    data = file.read(MAX_ENCODED_BYTES, field, "give a recording")
    waveform = trim_silence(decode_audio(data, field))
    _, warnings = check_reference(waveform, field)
    return waveform, warnings


def read_samples(
    files: Mapping[str, PlainFile], field: str, *, skips_unusable: bool = False
) -> tuple[Waveform, tuple[str, ...]]:
    """Returns the best MAX_JOINED_S of recordings of one speaker, and warnings, which name ``field``.

    files: by what errors call them. skips_unusable: a sample that cannot be used is left out with a warning,
    unless none can be used. Raises what ``read_recording`` raises.
    """
    recordings, warnings = list[Waveform](), list[str]()
    for number, (name, file) in enumerate(files.items(), start=1):
        try:
            recordings.append(read_recording(file, name)[0])
        except WorkerError as error:
            if not skips_unusable or (number == len(files) and not recordings):
                raise
            warnings.append(f"left out of {field}: {error.message}")
    joined = join_best(recordings, MAX_JOINED_S).waveform
    return joined, (*warnings, *check_reference(joined, field)[1])
