"""From recordings and arrays to stored voices, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from audio.decode import MAX_ENCODED_BYTES, decode_audio
from audio.quality import check_reference, trim_silence
from audio.waveform import Waveform
from errors import InvalidRequest, ReferenceInvalid
from voice_store.metadata import embedding_file
from voice_store.plain_files import UnreadableFileError, read_plain_file
from voice_store.samples import to_waveform
from voice_store.store import VoiceStore


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
    except ValueError as fault:
        raise ReferenceInvalid(f"cannot be used: {fault}", field="audio_array") from fault
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
    waveform, _ = read_recording(Path(audio_file_path), field="audio_file_path")
    return save_voice_embedding(
        waveform.samples,
        waveform.sample_rate_hz,
        voice_name,
        embeddings_dir,
        voice_description,
        gender,
        original_file=Path(audio_file_path).name,
    )


def read_recording(path: Path, field: str) -> tuple[Waveform, tuple[str, ...]]:
    """The speech in a recording at 24 kHz, and warnings about its quality; errors name ``field``."""
    try:
        data = read_plain_file(path, MAX_ENCODED_BYTES)
    except UnreadableFileError as fault:
        raise InvalidRequest(str(fault), field=field, hint="give a recording") from fault
    waveform = trim_silence(decode_audio(data, field))
    _, warnings = check_reference(waveform, field)
    return waveform, warnings
