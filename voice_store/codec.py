"""A voice as the bytes of its file and back: a gzip of a pickle, safe both ways.

Reading trusts nothing (see ``inert_pickle``); writing gives what any numpy reads (see ``pickled_voice``).
"""

from __future__ import annotations

import datetime
import zlib
from dataclasses import dataclass
from typing import Any

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import StoreCorrupt
from voice_store.inert_pickle import PickledArray, PickledScalar, load_inert
from voice_store.names import readable
from voice_store.pickled_voice import pickle_voice, read_head
from voice_store.samples import MAX_DURATION_S, to_waveform

MAX_FILE_BYTES = 64 * 2**20
MAX_PICKLE_BYTES = 64 * 2**20  # 11 minutes of float32 at 24 kHz

HEAD_BYTES = 4096  # of a file, in which all stands that ``peek_voice`` tells, however long the name

_GZIP_WINDOW = 31  # zlib's name for "a gzip header and the largest window"
_MEMORY_LEVEL = 8  # zlib's default

# docs/log.md has levels and strategies side by side. Decompressing takes most of the time of loading, so it
# must be worth it. The low bytes of a recording that was resampled are noise, of which every level takes off
# 7 %; not compressed, its samples are there eight times as soon. What more than halves, such as silence, is
# coded by runs and frequencies alone, several times as fast as by a search for repetitions.
_STORED_AT_RATIO = 0.5
_PROBES = 8
_PROBE_BYTES = 2**14


@dataclass(frozen=True, eq=False)
class StoredVoice:
    """What the file of a voice holds.

    waveform: at 24 kHz.
    name: None where an old file does not say.
    created_at: "YYYY-MM-DDTHH:MM:SS"; None where an old file does not say.
    """

    waveform: Waveform
    name: str | None
    created_at: str | None


@dataclass(frozen=True)
class VoiceHeader:
    """What the file of a voice says besides the samples. name, created_at: as in ``StoredVoice``."""

    name: str | None
    created_at: str | None
    duration_s: float

    @classmethod
    def of(cls, voice: StoredVoice) -> VoiceHeader:
        return cls(voice.name, voice.created_at, voice.waveform.duration_s)


def encode_voice(waveform: Waveform, name: str, created_at: str) -> bytes:
    """The bytes of a new voice's file; the same for the same voice."""
    return _compress(pickle_voice(waveform, name, created_at))


def decode_voice(data: bytes, voice_id: str) -> StoredVoice:
    """The voice in a file of ours or of an older program; ``voice_id`` is for the message alone.

    Raises StoreCorrupt when it is damaged or is not a voice. Nothing that it names is run; memory is bounded.
    """
    try:
        return _to_voice(load_inert(_decompress(data)))
    # PickleRefusedError is a ValueError. The others are what parts of a kind that nobody foresaw would
    # raise: one file must never stop the reading of the rest.
    except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError) as fault:
        raise StoreCorrupt(
            f"the file of voice {voice_id} cannot be read: {fault}",
            hint="clone the voice again with overwrite, or restore the file",
        ) from fault


def peek_voice(head: bytes) -> VoiceHeader | None:
    """What a file says whose first HEAD_BYTES these are; None unless it is laid out as ``encode_voice`` does.

    Whether the samples behind are whole is not looked at.
    """
    try:
        start = zlib.decompressobj(_GZIP_WINDOW).decompress(head, HEAD_BYTES)
    except zlib.error:
        return None
    found = read_head(start)
    if found is None or not 0 < found.sample_count <= MAX_DURATION_S * MODEL_SAMPLE_RATE_HZ:
        return None
    duration_s = found.sample_count / MODEL_SAMPLE_RATE_HZ
    return VoiceHeader(readable(found.name) or None, _to_date(found.created_at), duration_s)


def _compress(payload: bytes) -> bytes:
    starts = (number * len(payload) // _PROBES for number in range(_PROBES))
    probe = b"".join(payload[start : start + _PROBE_BYTES] for start in starts)
    level = 0 if len(_deflate(probe, 1)) > _STORED_AT_RATIO * len(probe) else 1
    return _deflate(payload, level)


def _deflate(payload: bytes, level: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP_WINDOW, _MEMORY_LEVEL, zlib.Z_RLE)
    return compressor.compress(payload) + compressor.flush()


def _decompress(data: bytes) -> bytes:
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    try:
        payload = decompressor.decompress(data, MAX_PICKLE_BYTES + 1)
    except zlib.error as fault:
        raise ValueError("it is damaged or is not gzip") from fault
    if len(payload) > MAX_PICKLE_BYTES:
        raise ValueError("it unpacks to more than any voice needs")
    if not decompressor.eof:
        raise ValueError("its end is missing")
    if decompressor.unused_data:  # a second gzip member too: no writer of voices makes one
        raise ValueError("something follows its end")
    return payload


def _to_voice(content: object) -> StoredVoice:
    fields: dict[Any, Any]
    match content:
        case PickledArray():
            fields = {"audio": content}
        case dict():
            fields = content
        case _:
            raise ValueError("it holds something else than a voice")
    audio = fields.get("audio")
    if not isinstance(audio, PickledArray):
        raise ValueError("it holds no audio")
    waveform = to_waveform(audio.to_numpy(), _to_rate(fields.get("sample_rate", MODEL_SAMPLE_RATE_HZ)))
    return StoredVoice(
        waveform, readable(fields.get("voice_name")) or None, _to_date(fields.get("created_at"))
    )


def _to_rate(value: object) -> int:
    number = value.to_python() if isinstance(value, PickledScalar) else value
    # The range first: a hostile integer may be too large for a float. NaN is in no range.
    if not isinstance(number, int | float) or not 0 < number < 2**31 or number != int(number):
        raise ValueError("its sample rate is not a whole number")
    return int(number)


def _to_date(value: object) -> str | None:
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="seconds")
    return readable(value, max_characters=32) or None
