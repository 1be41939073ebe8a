"""Files that a stranger may leave among the voices, by what they try. Built without running any of them."""

import gzip
import os
import pickle
import struct
from collections.abc import Callable

import numpy as np

MARKER = "attack-ran"  # what an attack that gets to run creates in the working directory


def text(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + pickle.STACK_GLOBAL


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + pickle.MARK + b"".join(arguments) + pickle.TUPLE + pickle.REDUCE


def proto4(*operations: bytes) -> bytes:
    return pickle.PROTO + b"\x04" + b"".join(operations) + pickle.STOP


RECONSTRUCT = name("numpy.core.multiarray", "_reconstruct")
NDARRAY = name("numpy", "ndarray")
EMPTY_ARRAY = call(
    RECONSTRUCT, NDARRAY, pickle.BININT1 + b"\0" + pickle.TUPLE1, pickle.SHORT_BINBYTES + b"\1b"
)
PLAIN_STATE = pickle.MARK + pickle.BININT1 + b"\3" + text("<") + pickle.NONE * 3
PLAIN_STATE += (pickle.BININT + struct.pack("<i", -1)) * 2 + pickle.BININT1 + b"\0" + pickle.TUPLE


def dtype(code: str, state: bytes = PLAIN_STATE) -> bytes:
    made = call(name("numpy", "dtype"), text(code), pickle.NEWFALSE, pickle.NEWTRUE)
    return made + state + pickle.BUILD


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def slots(attribute: str, value: bytes) -> bytes:
    """The state by which a pickle sets an attribute of an object with ``__slots__``."""
    state = pickle.EMPTY_DICT + pickle.MARK + text(attribute) + value + pickle.SETITEMS
    return pickle.NONE + state + pickle.TUPLE2 + pickle.BUILD


def array(shape: bytes, element: bytes, data: bytes) -> bytes:
    state = pickle.MARK + number(1) + shape + element + pickle.NEWFALSE + data + pickle.TUPLE
    return EMPTY_ARRAY + state + pickle.BUILD


def row(size: int) -> bytes:
    return number(size) + pickle.TUPLE1


def raw(data: bytes) -> bytes:
    return pickle.BINBYTES + struct.pack("<I", len(data)) + data


def voice(**fields: bytes) -> bytes:
    good = {"audio": array(row(4), dtype("f4"), raw(bytes(16))), "sample_rate": number(24_000)}
    items = b"".join(text(key) + value for key, value in (good | fields).items())
    return proto4(pickle.EMPTY_DICT, pickle.MARK, items, pickle.SETITEMS)


class _Runs:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.reduced


def doubled(times: int) -> bytes:
    """A tuple of itself twice, that many times: tiny to store, too large to look at."""
    steps = (pickle.BINPUT + bytes([at]) + pickle.BINGET + bytes([at]) + pickle.TUPLE2 for at in range(times))
    return pickle.EMPTY_TUPLE + b"".join(steps)


FIELD_STATE = pickle.MARK + number(3) + text("|") + pickle.NONE + text("x") + pickle.TUPLE1
FIELD_STATE += pickle.EMPTY_DICT + text("x") + dtype("O8") + number(0) + pickle.TUPLE2 + pickle.SETITEM
FIELD_STATE += number(8) + number(1) + number(16) + pickle.TUPLE

PICKLES: dict[str, bytes] = {
    "os.system": pickle.dumps({"audio": _Runs(os.system, f"touch {MARKER}")}, 4),
    "eval, protocol 2": pickle.dumps({"audio": _Runs(eval, f"open({MARKER!r}, 'w')")}, 2),
    "protocol 0": pickle.dumps({"audio": _Runs(os.system, f"touch {MARKER}")}, 0),
    "runs before it breaks": pickle.dumps(_Runs(os.system, f"touch {MARKER}"), 4)[:-1] + b"\xff\xff",
    "INST": b"\x80\x02(S'touch " + MARKER.encode() + b"'\nios\nsystem\n.",
    "OBJ": b"\x80\x02(cos\nsystem\nX\x01\x00\x00\x00ao.",
    "NEWOBJ": proto4(NDARRAY, pickle.EMPTY_TUPLE, pickle.NEWOBJ),
    "persistent id": proto4(text("x"), pickle.BINPERSID),
    "extension registry": proto4(pickle.EXT1 + b"\x01"),
    "name with dots": voice(audio=call(name("numpy", "ndarray.__class__"))),
    "numpy.load": voice(audio=call(name("numpy", "load"), text("/etc/passwd"))),
    "void type with an object field": voice(audio=array(row(1), dtype("V8", FIELD_STATE), raw(bytes(8)))),
    "object array": voice(audio=array(row(1), dtype("O8"), pickle.EMPTY_LIST)),
    "list for data": voice(audio=array(row(1), dtype("f4"), pickle.EMPTY_LIST)),
    "2 GiB object array": voice(audio=call(NDARRAY, row(2**28), text("O"))),
    "subclass to reconstruct": voice(audio=call(RECONSTRUCT, name("numpy", "dtype"), row(0), raw(b"b"))),
    "reconstruct a large shape": voice(audio=call(RECONSTRUCT, NDARRAY, row(2**40), raw(b"b"))),
    "shape larger than the data": voice(audio=array(row(2**40), dtype("f4"), raw(bytes(16)))),
    "negative shape": voice(
        audio=array(number(-2) + number(-2) + pickle.TUPLE2, dtype("f4"), raw(bytes(16)))
    ),
    "shape of booleans": voice(audio=array(pickle.NEWTRUE + pickle.TUPLE1, dtype("f4"), raw(bytes(4)))),
    "three dimensions": voice(
        audio=array(number(2) + number(2) + number(1) + pickle.TUPLE3, dtype("f4"), raw(bytes(16)))
    ),
    "no dimension": voice(audio=array(pickle.EMPTY_TUPLE, dtype("f4"), raw(bytes(4)))),
    "array without state": voice(audio=EMPTY_ARRAY),
    "type without state": voice(audio=array(row(4), dtype("f4")[: -len(PLAIN_STATE) - 1], raw(bytes(16)))),
    "unknown codec": voice(
        audio=array(row(4), dtype("f4"), call(name("_codecs", "encode"), text("a"), text("hex")))
    ),
    "text that is not latin-1": voice(
        audio=array(row(1), dtype("f4"), call(name("_codecs", "encode"), text("小明小明"), text("latin1")))
    ),
    "state for a function": voice(
        audio=name("numpy", "dtype") + text("x") + number(1) + pickle.TUPLE2 + pickle.BUILD
    ),
    "call of a dict": voice(audio=pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + pickle.REDUCE),
    "array as a key": proto4(pickle.EMPTY_DICT + EMPTY_ARRAY + number(1) + pickle.SETITEM),
    "list as a key": proto4(pickle.EMPTY_DICT + pickle.EMPTY_LIST + number(1) + pickle.SETITEM),
    "huge memo index": proto4(number(1), pickle.LONG_BINPUT + struct.pack("<I", 2**29)),
    "million-deep tuple as a key": proto4(
        pickle.EMPTY_DICT, pickle.EMPTY_TUPLE, pickle.TUPLE1 * 1_000_000, number(1), pickle.SETITEM
    ),
    "doubled tuple": voice(voice_name=doubled(60)),
    "doubled tuple as a key": proto4(pickle.EMPTY_DICT, doubled(60), number(1), pickle.SETITEM),
    "doubled list": proto4(
        pickle.EMPTY_LIST, *(pickle.MEMOIZE + pickle.BINGET + bytes([at]) + pickle.APPEND for at in range(60))
    ),
    "hidden behind a frame": proto4(
        pickle.EMPTY_TUPLE + pickle.TUPLE1 + pickle.FRAME + bytes(8) + pickle.MEMOIZE + pickle.BINGET + b"\0"
    ),
    "text copied many times": proto4(
        text("x" * 2**24) + pickle.BINPUT + b"\0",
        (name("_codecs", "encode") + pickle.BINGET + b"\0" + text("latin1") + pickle.TUPLE2 + pickle.REDUCE)
        * 50,
    ),
    "too many opcodes": proto4(pickle.EMPTY_LIST, (pickle.NONE + pickle.APPEND) * 300),
    "bytes longer than the file": proto4(pickle.BINBYTES8 + struct.pack("<Q", 2**40)),
    "bytearray longer than the file": pickle.PROTO
    + b"\5"
    + pickle.BYTEARRAY8
    + struct.pack("<Q", 2**40)
    + b".",
    "text longer than the file": proto4(pickle.BINUNICODE8 + struct.pack("<Q", 2**40)),
    "frame longer than the file": proto4(pickle.FRAME + struct.pack("<Q", 2**40), pickle.NONE),
    "out-of-band buffer": pickle.PROTO + b"\5" + pickle.NEXT_BUFFER + pickle.STOP,
    "protocol 6": b"\x80\x06N.",
    "protocol twice": proto4(pickle.PROTO + b"\4", pickle.NONE),
    "two pickles": voice() + voice(),
    "no pickle": b"\x89PNG\r\n",
    "nothing": b"",
    "stack underflow": proto4(pickle.SETITEMS),
    "memo that is not there": proto4(pickle.BINGET + b"\7"),
    "a number": proto4(number(5)),
    "dict without audio": proto4(pickle.EMPTY_DICT),
    "audio that is text": voice(audio=text("audio")),
    "empty audio": voice(audio=array(row(0), dtype("f4"), raw(b""))),
    "empty stereo": voice(audio=array(number(0) + number(0) + pickle.TUPLE2, dtype("f4"), raw(b""))),
    "nine channels": voice(audio=array(number(9) + number(9) + pickle.TUPLE2, dtype("f4"), raw(bytes(324)))),
    "not finite": voice(audio=array(row(2), dtype("f4"), raw(np.float32([0, np.nan]).tobytes()))),
    "infinite": voice(audio=array(row(2), dtype("f8"), raw(np.float64([1e300, 0]).tobytes()))),
    "overflow in the resampler": voice(
        audio=array(row(4000), dtype("f4"), raw(np.resize(np.float32([3.4e38, -3.4e38]), 4000).tobytes())),
        sample_rate=number(8_000),
    ),
    "samples of booleans": voice(audio=array(row(4), dtype("b1"), raw(bytes(4)))),
    "rate of zero": voice(sample_rate=number(0)),
    "negative rate": voice(sample_rate=number(-24_000)),
    "rate of 2^31 Hz": voice(sample_rate=number(2**31 - 1)),
    "rate that is not a number": voice(sample_rate=pickle.BINFLOAT + struct.pack(">d", float("nan"))),
    "rate of infinity": voice(sample_rate=pickle.BINFLOAT + struct.pack(">d", float("inf"))),
    "rate too large for a float": voice(sample_rate=number(2**2000)),
    "number changed after it was checked": voice(
        sample_rate=call(name("numpy.core.multiarray", "scalar"), dtype("f4"), raw(bytes(4)))
        + slots("_dtype", text("x"))
    ),
    "bytes changed after they were checked": voice(
        audio=array(
            row(1),
            dtype("f4"),
            call(name("_codecs", "encode"), text("aaaa"), text("latin1")) + slots("text", number(5)),
        )
    ),
    "rate of text": voice(sample_rate=text("24000")),
    "hours of audio": voice(
        audio=array(row(2**24), dtype("i2"), raw(bytes(2**25))), sample_rate=number(8_000)
    ),
    "date that is none": voice(created_at=call(name("datetime", "datetime"), raw(b"\xff" * 10))),
}

GOOD = gzip.compress(voice(), mtime=0)

FILES: dict[str, bytes] = {
    **{attack: gzip.compress(payload, 1, mtime=0) for attack, payload in PICKLES.items()},
    "not gzip": voice(),
    "no bytes": b"",
    "gzip of too much": gzip.compress(bytes(2**28), 1),
    "too much in a second member": GOOD + gzip.compress(bytes(2**28), 1),
    "two members": GOOD + GOOD,
    "something after the end": GOOD + b"\0",
    "wrong checksum": GOOD[:-8] + bytes(4) + GOOD[-4:],
}
