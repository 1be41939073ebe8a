"""The file of a voice: a gzip of a pickled dict, written so that any numpy reads it, and read without trust.

    sample_rate, voice_name, created_at    as programs older than this one write them
    about                                  JSON: what a clone was given besides the name; they ignore it
    audio                                  float32 [samples] at 24 kHz

Numpy's own pickles depend on its version: numpy 1.25 cannot load what numpy 2 writes, while protocol 4 under
the names of numpy 1.x loads everywhere. So the opcodes are spelled out here. The samples come last: what
stands before them can be read without them.
"""

from __future__ import annotations

import datetime
import json
import pickle
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import InvalidRequest, StoreCorrupt
from voice_store.inert_pickle import PickledArray, PickledScalar, load_inert
from voice_store.names import readable
from voice_store.samples import MAX_DURATION_S, to_waveform

MAX_FILE_BYTES = 64 * 2**20
MAX_PICKLE_BYTES = 64 * 2**20  # 11 minutes of float32 at 24 kHz
MAX_ABOUT_BYTES = 2**21  # 500 pronunciations take at most 2 MB

NOTHING: Mapping[str, Any] = MappingProxyType({})

# How much of a file ``peek_voice`` needs: nearly always, and with as much about the voice as there may be.
HEAD_BYTES = 4096
MAX_HEAD_BYTES = MAX_ABOUT_BYTES + HEAD_BYTES

_GZIP_WINDOW = 31  # zlib's name for "a gzip header and the largest window"
_MEMORY_LEVEL = 8  # zlib's default

# docs/log.md has levels and strategies side by side. Decompressing takes most of the time of loading, so it
# must be worth it. The low bytes of a recording that was resampled are noise, of which every level takes off
# 7 %; not compressed, its samples are there eight times as soon. What more than halves, such as silence, is
# coded by runs and frequencies alone, several times as fast as by a search for repetitions.
_STORED_AT_RATIO = 0.5
_PROBES = 8
_PROBE_BYTES = 2**14


@dataclass(frozen=True)
class VoiceHeader:
    """What the file of a voice says besides the samples.

    name, created_at ("YYYY-MM-DDTHH:MM:SS"): None where an old file does not say.
    about: as ``encode_voice`` was given it, but anyone may have written the file; None in files of programs
        that do not write it.
    """

    name: str | None
    created_at: str | None
    duration_s: float
    about: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class StoredVoice:
    """What the file of a voice holds. waveform: at 24 kHz."""

    waveform: Waveform
    header: VoiceHeader

    @property
    def name(self) -> str | None:
        return self.header.name

    @property
    def created_at(self) -> str | None:
        return self.header.created_at


def encode_voice(waveform: Waveform, name: str, created_at: str, about: Mapping[str, Any] = NOTHING) -> bytes:
    """Returns the bytes of a new voice's file; the same for the same voice.

    about: JSON-safe. Raises InvalidRequest when it takes more than MAX_ABOUT_BYTES.
    """
    return _compress(pickle_voice(waveform, name, created_at, about))


def pickle_voice(waveform: Waveform, name: str, created_at: str, about: Mapping[str, Any] = NOTHING) -> bytes:
    """Returns a voice as it is compressed into its file; see ``encode_voice``."""
    assert waveform.sample_rate_hz == MODEL_SAMPLE_RATE_HZ, waveform.sample_rate_hz
    described = json.dumps(dict(about))
    if len(described) > MAX_ABOUT_BYTES:
        raise InvalidRequest("what is known about the voice is too long", hint="shorten some of it")
    samples = np.ascontiguousarray(waveform.samples, dtype="<f4").tobytes()
    head = (_START, _text(name), _CREATED_AT, _text(created_at), _ABOUT, _text(described))
    return b"".join((*head, _AUDIO, _int(len(waveform.samples)), _FLOAT32_ROW, _bytes(samples), _END))


def decode_voice(data: bytes, voice_id: str) -> StoredVoice:
    """Returns the voice in a file of ours or of an older program; ``voice_id`` is for the message alone.

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
    """Returns what the first bytes of a file say; None for files of others, and when it goes on behind them.

    Whether the samples are whole is not looked at.
    """
    try:
        start = zlib.decompressobj(_GZIP_WINDOW).decompress(head, MAX_HEAD_BYTES)
        reader = _HeadReader(start)
        reader.skip(_START)
        name = reader.text()
        reader.skip(_CREATED_AT)
        created_at = reader.text()
        about = None
        if reader.is_next(_ABOUT):
            reader.skip(_ABOUT)
            about = reader.text()
        reader.skip(_AUDIO + pickle.BININT)
        sample_count = reader.number()
        reader.skip(_FLOAT32_ROW + pickle.BINBYTES)
        byte_count = reader.number()
    except (zlib.error, ValueError):
        return None
    if not 0 < sample_count <= MAX_DURATION_S * MODEL_SAMPLE_RATE_HZ or byte_count != 4 * sample_count:
        return None
    return VoiceHeader(
        readable(name) or None, _to_date(created_at), sample_count / MODEL_SAMPLE_RATE_HZ, _to_about(about)
    )


class _HeadReader:
    """The opcodes before the samples, one after the other. Raises ValueError for others, or when they end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def is_next(self, literal: bytes) -> bool:
        return self._data.startswith(literal, self._at)

    def skip(self, literal: bytes) -> None:
        if not self.is_next(literal):
            raise ValueError
        self._at += len(literal)

    def number(self) -> int:
        return int.from_bytes(self._take(4), "little")

    def text(self) -> str:
        self.skip(pickle.BINUNICODE)
        return self._take(self.number()).decode()

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise ValueError
        self._at += size
        return taken


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _bytes(data: bytes) -> bytes:
    return pickle.BINBYTES + struct.pack("<I", len(data)) + data


def _int(number: int) -> bytes:
    return pickle.BININT + struct.pack("<i", number)


def _global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + pickle.STACK_GLOBAL


_START = b"".join(
    (
        pickle.PROTO + b"\x04" + pickle.EMPTY_DICT + pickle.MARK,
        _text("sample_rate") + _int(MODEL_SAMPLE_RATE_HZ) + _text("voice_name"),
    )
)
_CREATED_AT, _ABOUT = _text("created_at"), _text("about")
# What ``ndarray.__reduce__`` and ``dtype.__reduce__`` give under numpy 1.x, as opcodes: up to the length of
# the row, from there to its bytes, and what follows them.
_AUDIO = b"".join(
    (
        _text("audio") + _global("numpy.core.multiarray", "_reconstruct"),
        _global("numpy", "ndarray") + _int(0) + pickle.TUPLE1 + _bytes(b"b") + pickle.TUPLE3 + pickle.REDUCE,
        pickle.MARK + _int(1),
    )
)
_FLOAT32_ROW = b"".join(
    (
        pickle.TUPLE1 + _global("numpy", "dtype"),
        _text("f4") + pickle.NEWFALSE + pickle.NEWTRUE + pickle.TUPLE3 + pickle.REDUCE,
        pickle.MARK + _int(3) + _text("<") + pickle.NONE * 3 + _int(-1) * 2 + _int(0),
        pickle.TUPLE + pickle.BUILD + pickle.NEWFALSE,
    )
)
_END = pickle.TUPLE + pickle.BUILD + pickle.SETITEMS + pickle.STOP


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
    name, created_at = readable(fields.get("voice_name")) or None, _to_date(fields.get("created_at"))
    return StoredVoice(
        waveform, VoiceHeader(name, created_at, waveform.duration_s, _to_about(fields.get("about")))
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


def _to_about(value: object) -> Mapping[str, Any] | None:
    if not isinstance(value, str) or len(value) > MAX_ABOUT_BYTES:
        return None
    try:
        about = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return about if isinstance(about, dict) else None
