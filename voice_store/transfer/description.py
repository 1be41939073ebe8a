"""A voice outside a store: a file that any player plays, and a JSON file that says the rest.

<stem>.wav     32-bit float: the very samples, so the voice comes back with the same digest and id
<stem>.flac    24 bit: half the size; what is finer than that, or beyond full scale, is lost
<stem>.json    see ``describe``
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import soundfile

from audio.encode import encode_lossless
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import InvalidRequest
from voice_store.metadata import tidy_metadata
from voice_store.names import is_voice_id
from voice_store.samples import MAX_DURATION_S

FORMATS = ("wav", "flac")
MAX_DESCRIPTION_BYTES = 2**21  # 500 pronunciations take at most 2 MB
MAX_AUDIO_BYTES = 2**26  # ten minutes of 32-bit samples at 24 kHz, which is what the store takes

_KIND = "chatterbox voice"
_VERSION = 1
_LONGEST_STEM = 64
_NOT_OF_THE_VOICE = ("embedding_file", "type")  # where a store keeps it, and how
_IEEE_FLOAT = 3  # WAVE_FORMAT_IEEE_FLOAT
_ENCODINGS = frozenset({("WAV", "FLOAT"), ("FLAC", "PCM_24")})


@dataclass(frozen=True)
class Description:
    """What a JSON file says about a voice.

    metadata: see ``VoiceStore.metadata``. voice_id: None when it gives none that could be one.
    digest: of the voice's samples where it came from. audio_file: the name of the file beside it.
    audio_sha256: of that file.
    """

    metadata: Mapping[str, Any]
    voice_id: str | None
    digest: str
    audio_file: str
    audio_sha256: str


def file_stem(voice_id: str) -> str:
    """What a voice's files are called: its id, unless an old program made that up of anything."""
    if voice_id.isascii() and len(voice_id) <= _LONGEST_STEM:
        return voice_id
    return f"voice-{hashlib.sha256(voice_id.encode()).hexdigest()[:16]}"


def encode_audio(waveform: Waveform, format: str) -> bytes:
    """The bytes of a file in one of FORMATS; the same for the same samples."""
    return encode_lossless(waveform) if format == "flac" else _encode_float_wav(waveform)


def describe(metadata: Mapping[str, Any], digest: str, audio_file: str, audio: bytes) -> bytes:
    """The JSON file about a voice whose audio lies beside it."""
    said = {key: value for key, value in metadata.items() if key not in _NOT_OF_THE_VOICE}
    content = {
        "kind": _KIND,
        "version": _VERSION,
        **said,
        "digest": digest,
        "audio_file": audio_file,
        "audio_sha256": hashlib.sha256(audio).hexdigest(),
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def parse_description(data: bytes) -> Description | None:
    """What a JSON file says; None for one that is about something else.

    Raises InvalidRequest for what is no JSON, and for a version of the future.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise InvalidRequest("it is damaged: it is not JSON") from fault
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        return None
    if content.get("version") != _VERSION:
        raise InvalidRequest("it was written by a newer version of this program", hint="import it with that")
    claimed_id = content.get("voice_id")
    voice_id = claimed_id if isinstance(claimed_id, str) and is_voice_id(claimed_id) else None
    texts = (content.get(key) for key in ("digest", "audio_file", "audio_sha256"))
    digest, audio_file, audio_sha256 = (text if isinstance(text, str) else "" for text in texts)
    return Description(tidy_metadata(voice_id or "", content), voice_id, digest, audio_file, audio_sha256)


def decode_audio_file(data: bytes, description: Description) -> Waveform:
    """The samples of an exported voice. Raises InvalidRequest unless it is the file that was described."""
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
    except soundfile.LibsndfileError as fault:
        raise InvalidRequest("its audio cannot be decoded") from fault
    return Waveform(samples, MODEL_SAMPLE_RATE_HZ)


def _encode_float_wav(waveform: Waveform) -> bytes:
    """As in Microsoft's "Multiple Channel Audio Data and WAVE Files", for a format that is not PCM.

    Not libsndfile's, which writes the time of day into a file of floats.
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
