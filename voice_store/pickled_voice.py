"""The pickle that a new voice is written as, spelled out by hand, and what its first bytes say.

What numpy itself would write depends on its version: protocol 4 under the names of numpy 1.x loads
everywhere, while numpy 1.25 cannot load what numpy 2 pickles. The samples come last: the rest
can be told without them.
"""

from __future__ import annotations

import pickle
import re
import struct
from typing import NamedTuple

import numpy as np

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform


class PickledHead(NamedTuple):
    """What stands before the samples."""

    name: str
    created_at: str
    sample_count: int


def pickle_voice(waveform: Waveform, name: str, created_at: str) -> bytes:
    """{'sample_rate': int, 'voice_name': str, 'created_at': str, 'audio': float32 [samples]}, protocol 4."""
    assert waveform.sample_rate_hz == MODEL_SAMPLE_RATE_HZ, waveform.sample_rate_hz
    data = np.ascontiguousarray(waveform.samples, dtype="<f4").tobytes()
    head = (
        _START + _text(name),
        _text("created_at") + _text(created_at),
        _text("audio") + _ARRAY + _int(len(waveform.samples)) + _FLOAT32_ROW,
    )
    return b"".join((*head, _bytes(data), _END))


def read_head(start: bytes) -> PickledHead | None:
    """What the first bytes of a pickle by ``pickle_voice`` say; None for any other bytes."""
    found = _HEAD.match(start)
    if found is None:
        return None
    name_size, name, date_size, date, count, data_size = found.groups()
    sizes = [_to_int(size) for size in (name_size, date_size, data_size)]
    if sizes != [len(name), len(date), 4 * _to_int(count)]:
        return None
    try:
        return PickledHead(name.decode(), date.decode(), _to_int(count))
    except UnicodeDecodeError:
        return None


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _bytes(data: bytes) -> bytes:
    return pickle.BINBYTES + struct.pack("<I", len(data)) + data


def _int(number: int) -> bytes:
    return pickle.BININT + struct.pack("<i", number)


def _to_int(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + pickle.STACK_GLOBAL


_START = b"".join(
    (
        pickle.PROTO + b"\x04" + pickle.EMPTY_DICT + pickle.MARK,
        _text("sample_rate") + _int(MODEL_SAMPLE_RATE_HZ) + _text("voice_name"),
    )
)
# What ``ndarray.__reduce__`` and ``dtype.__reduce__`` give under numpy 1.x, as opcodes: up to the length of
# the row, from there to its bytes, and what follows them.
_ARRAY = b"".join(
    (
        _global("numpy.core.multiarray", "_reconstruct"),
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

_SIZE, _SOME = b"(.{4})", b"(.*?)"
_HEAD = re.compile(
    b"".join(
        (
            re.escape(_START + pickle.BINUNICODE) + _SIZE + _SOME,
            re.escape(_text("created_at") + pickle.BINUNICODE) + _SIZE + _SOME,
            re.escape(_text("audio") + _ARRAY + pickle.BININT) + _SIZE,
            re.escape(_FLOAT32_ROW + pickle.BINBYTES) + _SIZE,
        )
    ),
    re.DOTALL,
)
