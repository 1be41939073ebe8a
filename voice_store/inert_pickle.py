"""Reads the pickles that voices are stored as, without running anything that they name.

Whoever may write to the volume could otherwise run code in every worker that reads from it. Two walls:

1. every opcode is looked at before anything is loaded: few kinds, few of them, no large memo, no value that
   holds others used twice (which would let a few bytes stand for a structure of any size);
2. each name that numpy's pickles use stands for an inert object that checks its arguments and keeps them.
   Neither numpy nor any other code runs until the caller asks a ``PickledArray`` for its samples.
"""

from __future__ import annotations

import datetime
import io
import math
import pickle
import pickletools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_OPCODES = 400
MAX_MEMO_INDEX = 400
MAX_DIMENSIONS = 2

_TEXTS = frozenset({"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"})
_BYTES = frozenset({"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"})
_NUMBERS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"})
_CALLS = frozenset({"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"})
_PLAIN = _TEXTS | _BYTES | _NUMBERS | _CALLS  # what leaves a value without parts on top of the stack
_TUPLES = frozenset({"MARK", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})
_LISTS = frozenset({"EMPTY_LIST", "APPEND", "APPENDS"})
_DICTS = frozenset({"EMPTY_DICT", "SETITEM", "SETITEMS"})
_CONSTANTS = frozenset({"NONE", "NEWTRUE", "NEWFALSE"})
_PUTS = frozenset({"BINPUT", "LONG_BINPUT", "MEMOIZE"})
_GETS = frozenset({"BINGET", "LONG_BINGET"})
_FRAMING = frozenset({"PROTO", "FRAME", "STOP"})
_ALLOWED = _PLAIN | _TUPLES | _LISTS | _DICTS | _CONSTANTS | _PUTS | _GETS | _FRAMING

_DTYPE_CODES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})


class PickleRefusedError(ValueError):
    """The bytes are not a pickle of the kind that voices are stored as."""


def load_inert(payload: bytes) -> object:
    """What a pickle of protocol 2 to 5 holds: plain values, ``PickledArray`` and ``PickledScalar``.

    Raises PickleRefusedError for everything that a stored voice has no use for.
    """
    try:
        _check_opcodes(payload)
        return _InertUnpickler(io.BytesIO(payload)).load()
    except PickleRefusedError:
        raise
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        IndexError,
        OverflowError,
    ) as fault:
        raise PickleRefusedError("its pickle is damaged") from fault


def _check_opcodes(payload: bytes) -> None:
    shareable: dict[int, bool] = {}  # by memo index
    top_is_plain = False  # whether what is on top of the stack has no parts
    argument: Any
    for count, (opcode, argument, position) in enumerate(pickletools.genops(payload)):
        kind = opcode.name
        if count >= MAX_OPCODES:
            raise PickleRefusedError("its pickle is too complicated")
        if kind not in _ALLOWED:
            raise PickleRefusedError("its pickle holds more than a voice")
        if (kind == "PROTO") != (count == 0) or (kind == "PROTO" and not 2 <= argument <= 5):
            raise PickleRefusedError("its pickle is of a protocol that no voice was stored in")
        if kind in _PUTS:
            index = len(shareable) if kind == "MEMOIZE" else argument
            if index > MAX_MEMO_INDEX:
                raise PickleRefusedError("its pickle is too complicated")
            shareable[index] = top_is_plain
        elif kind in _GETS:
            if not shareable.get(argument, False):
                raise PickleRefusedError("its pickle uses one of its parts twice")
            top_is_plain = True
        elif kind != "FRAME":
            top_is_plain = kind in _PLAIN
        if kind == "STOP" and position != len(payload) - 1:
            raise PickleRefusedError("something follows its pickle")


class PickledDType:
    """A number type by its code, such as "f4", and byte order."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: str) -> None:
        self._code = code
        self._order = ""

    def __setstate__(self, state: object) -> None:
        # (version, order, subarray, names, fields, item size, alignment, flags): only the order may vary,
        # so neither objects nor structures can be declared.
        match state:
            case (int(), ("<" | ">" | "|") as order, None, None, None, -1, -1, 0):
                self._order = str(order)
            case _:
                raise PickleRefusedError("its array holds more than numbers")

    def to_numpy(self) -> np.dtype[Any]:
        if not self._order:
            raise PickleRefusedError("its array type is incomplete")
        return np.dtype(self._order + self._code)


class PickledArray:
    """The parts of an array, put together only by ``to_numpy``."""

    __slots__ = ("_data", "_dtype", "_is_fortran", "_shape")

    def __init__(self) -> None:
        self._dtype: PickledDType | None = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), tuple(shape), PickledDType() as dtype, bool(is_fortran), data):
                self.assemble(shape, dtype, is_fortran, data)
            case _:
                raise PickleRefusedError("its array is damaged")

    def assemble(self, shape: tuple[Any, ...], dtype: PickledDType, is_fortran: bool, data: object) -> None:
        if not 1 <= len(shape) <= MAX_DIMENSIONS or not all(
            type(size) is int and size >= 0 for size in shape
        ):
            raise PickleRefusedError("its array is not one row or a few channels of samples")
        self._shape, self._dtype, self._is_fortran, self._data = shape, dtype, is_fortran, data

    def to_numpy(self) -> NDArray[Any]:
        """The array, read-only, on the memory of the pickle."""
        if self._dtype is None:
            raise PickleRefusedError("its array is incomplete")
        dtype = self._dtype.to_numpy()
        data = _raw_bytes(self._data, math.prod(self._shape) * dtype.itemsize)
        return np.frombuffer(data, dtype=dtype).reshape(self._shape, order="F" if self._is_fortran else "C")


class PickledScalar:
    """One number as numpy keeps it."""

    __slots__ = ("_data", "_dtype")

    def __init__(self, dtype: PickledDType, data: object) -> None:
        self._dtype, self._data = dtype, data

    def __setstate__(self, state: object) -> None:
        raise PickleRefusedError("its pickle changes a number")

    def to_python(self) -> int | float | bool:
        dtype = self._dtype.to_numpy()
        data = _raw_bytes(self._data, dtype.itemsize)
        number: int | float | bool = np.frombuffer(data, dtype=dtype)[0].item()
        return number


class _Latin1Bytes:
    """Bytes as protocol 2 spells them: text, encoded only when the bytes are wanted.

    Encoding at once would let five opcodes copy a large text, and a small file fill the memory.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __setstate__(self, state: object) -> None:
        raise PickleRefusedError("its pickle changes its bytes")


def _raw_bytes(data: object, size: int) -> bytes | bytearray:
    """``data`` if it is bytes in either spelling, and ``size`` of them."""
    match data:
        case bytes() | bytearray() if len(data) == size:
            return data
        case _Latin1Bytes() if len(data.text) == size:
            try:
                return data.text.encode("latin-1")
            except UnicodeEncodeError as fault:
                raise PickleRefusedError("its bytes are damaged") from fault
        case _:
            raise PickleRefusedError("its array is not the numbers that it says")


class _InertGlobal:
    """What a name in a pickle stands for: it can be called with the arguments it checks, and nothing else."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[tuple[Any, ...]], object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(arguments)

    def __setstate__(self, state: object) -> None:
        raise PickleRefusedError("its pickle changes what it should only name")


def _make_nothing(arguments: tuple[Any, ...]) -> object:
    raise PickleRefusedError("its pickle makes something that is not a voice")


_NDARRAY = _InertGlobal(_make_nothing)  # only ever named, never called


def _make_reconstructed(arguments: tuple[Any, ...]) -> object:
    match arguments:
        case (kind, (0,), code) if kind is _NDARRAY and _raw_bytes(code, 1) == b"b":
            return PickledArray()
    return _make_nothing(arguments)


def _make_frombuffer(arguments: tuple[Any, ...]) -> object:
    match arguments:
        case (data, PickledDType() as dtype, tuple(shape), ("C" | "F") as order):
            array = PickledArray()
            array.assemble(shape, dtype, order == "F", data)
            return array
    return _make_nothing(arguments)


def _make_dtype(arguments: tuple[Any, ...]) -> object:
    match arguments:
        case (str(code), False, True) if code in _DTYPE_CODES:
            return PickledDType(code)
    return _make_nothing(arguments)


def _make_scalar(arguments: tuple[Any, ...]) -> object:
    match arguments:
        case (PickledDType() as dtype, data):
            return PickledScalar(dtype, data)
    return _make_nothing(arguments)


def _make_encoded(arguments: tuple[Any, ...]) -> object:
    match arguments:
        case (str(text), "latin1"):
            return _Latin1Bytes(text)
    return _make_nothing(arguments)


def _make_bytes(arguments: tuple[Any, ...]) -> object:
    return b"" if not arguments else _make_nothing(arguments)


def _make_datetime(arguments: tuple[Any, ...]) -> object:
    match arguments:
        case (packed,):
            state = _raw_bytes(packed, 10)
            # The month is under a flag, and the microsecond, which no program here looks at, follows.
            year, month, day, hour, minute, second = struct.unpack(">H5B", state[:7])
            return datetime.datetime(year, month & 0x7F, day, hour, minute, second)
    return _make_nothing(arguments)


_GLOBALS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _InertGlobal(_make_dtype),
    ("_codecs", "encode"): _InertGlobal(_make_encoded),
    ("__builtin__", "bytes"): _InertGlobal(_make_bytes),
    ("datetime", "datetime"): _InertGlobal(_make_datetime),
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1.x and 2.x
    _GLOBALS[f"{_core}.multiarray", "_reconstruct"] = _InertGlobal(_make_reconstructed)
    _GLOBALS[f"{_core}.multiarray", "scalar"] = _InertGlobal(_make_scalar)
    _GLOBALS[f"{_core}.numeric", "_frombuffer"] = _InertGlobal(_make_frombuffer)


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _GLOBALS[module, name]
        except KeyError:
            raise PickleRefusedError("its pickle names something that is not part of a voice") from None
