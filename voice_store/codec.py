"""A voice as the bytes of its file and back: a gzip of a pickle, safe both ways.

Reading trusts nothing (see ``inert_pickle``). Writing spells the pickle out by hand, because what numpy
itself would write depends on its version: protocol 4 under the names of numpy 1.x loads everywhere, while
numpy 1.25 cannot load what numpy 2 pickles.
"""

from __future__ import annotations

import datetime
import gzip
import pickle
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from errors import StoreCorrupt
from voice_store.inert_pickle import PickledArray, PickledScalar, load_inert
from voice_store.names import readable
from voice_store.samples import to_waveform

MAX_FILE_BYTES = 64 * 2**20
MAX_PICKLE_BYTES = 64 * 2**20  # 11 minutes of float32 at 24 kHz

# docs/log.md has the levels side by side: higher ones take several times as long to save a few percent.
_GZIP_LEVEL = 4
_GZIP_WINDOW = 31  # zlib's name for "a gzip header and the largest window"


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


def encode_voice(waveform: Waveform, name: str, created_at: str) -> bytes:
    """The bytes of a new voice's file; the same for the same voice."""
    assert waveform.sample_rate_hz == MODEL_SAMPLE_RATE_HZ, waveform.sample_rate_hz
    return gzip.compress(_pickle_voice(waveform, name, created_at), _GZIP_LEVEL, mtime=0)


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
            f"the file of voice {voice_id} cannot be read: {fault}; clone the voice again or restore the file"
        ) from fault


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


def _pickle_voice(waveform: Waveform, name: str, created_at: str) -> bytes:
    """{'audio': float32 [samples], 'sample_rate': int, 'voice_name': str, 'created_at': str}, protocol 4."""
    return b"".join(
        (
            pickle.PROTO + b"\x04",
            pickle.EMPTY_DICT + pickle.MARK,
            _text("audio"),
            *_float32_row(waveform.samples),
            _text("sample_rate") + _int(waveform.sample_rate_hz),
            _text("voice_name") + _text(name),
            _text("created_at") + _text(created_at),
            pickle.SETITEMS + pickle.STOP,
        )
    )


def _float32_row(samples: NDArray[np.float32]) -> tuple[bytes, ...]:
    """What ``ndarray.__reduce__`` and ``dtype.__reduce__`` give under numpy 1.x, as opcodes."""
    data = np.ascontiguousarray(samples, dtype="<f4").tobytes()
    return (
        _global("numpy.core.multiarray", "_reconstruct"),
        _global("numpy", "ndarray") + _int(0) + pickle.TUPLE1 + _bytes(b"b") + pickle.TUPLE3 + pickle.REDUCE,
        pickle.MARK + _int(1) + _int(len(samples)) + pickle.TUPLE1,
        _global("numpy", "dtype")
        + _text("f4")
        + pickle.NEWFALSE
        + pickle.NEWTRUE
        + pickle.TUPLE3
        + pickle.REDUCE,
        pickle.MARK
        + _int(3)
        + _text("<")
        + pickle.NONE * 3
        + _int(-1) * 2
        + _int(0)
        + pickle.TUPLE
        + pickle.BUILD,
        pickle.NEWFALSE,
        _bytes(data),
        pickle.TUPLE + pickle.BUILD,
    )


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _bytes(data: bytes) -> bytes:
    return pickle.BINBYTES + struct.pack("<I", len(data)) + data


def _int(number: int) -> bytes:
    return pickle.BININT + struct.pack("<i", number)


def _global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + pickle.STACK_GLOBAL
