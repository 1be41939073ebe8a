"""Ogg pages (RFC 3533): what libsndfile is too lenient about when reading."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

_HEADER = struct.Struct(
    "<4sBBqIIIB"
)  # capture, version, flags, position, serial, sequence, checksum, segments
_CHECKSUM = slice(22, 26)
_CONTINUED, _BEGINS = 0x01, 0x02
_MAX_PAGES_READ = 1024  # room for a cover picture in a comment; a million empty pages would only cost time
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggError(ValueError):
    """The stream departs from RFC 3533 where a reader could be led astray."""


@dataclass(frozen=True)
class _Page:
    """start, body, end: byte offsets. segments: length of each piece of a packet, 255 meaning more."""

    start: int
    body: int
    end: int
    version: int
    flags: int
    serial: int
    sequence: int
    segments: bytes


def read_packets(stream: bytes, count: int) -> list[bytes]:
    """The first ``count`` packets.

    Every page up to there must be whole, in order, of one stream and with the right checksum.
    libogg passes over a page that is not, so whoever reads less strictly sees other packets than
    the decoder will. Raises OggError.
    """
    packets: list[bytes] = []
    unfinished = bytearray()
    serial = None
    for number, page in enumerate(islice(_pages(stream), _MAX_PAGES_READ)):
        content = stream[page.start : page.end]
        if page_checksum(content[:22] + bytes(4) + content[26:]) != int.from_bytes(
            content[_CHECKSUM], "little"
        ):
            raise OggError("checksum")
        serial = page.serial if serial is None else serial
        expected_flags = (_CONTINUED if unfinished else 0) | (0 if number else _BEGINS)
        if (page.version, page.serial, page.sequence, page.flags & 3) != (0, serial, number, expected_flags):
            raise OggError("page order")
        position = page.body
        for length in page.segments:
            unfinished += stream[position : position + length]
            position += length
            if length < 255:
                packets.append(bytes(unfinished))
                unfinished.clear()
                if len(packets) == count:
                    return packets
    raise OggError("too few packets")


def page_checksum(page: bytes) -> int:
    """Ogg's CRC-32: polynomial 0x04C11DB7, most significant bit first, nothing inverted.

    zlib computes the same polynomial from the other end of each byte and inverts before and after,
    so its result on mirrored bytes, uninverted and mirrored, is Ogg's; a loop in Python is far
    slower.
    """
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _pages(stream: bytes) -> Iterator[_Page]:
    start = 0
    while start < len(stream):
        if len(stream) - start < _HEADER.size:
            raise OggError("torn page")
        capture, version, flags, _, serial, sequence, _, count = _HEADER.unpack_from(stream, start)
        segments = stream[start + _HEADER.size : start + _HEADER.size + count]
        body = start + _HEADER.size + count
        end = body + sum(segments)
        if capture != b"OggS" or end > len(stream):
            raise OggError("torn page")
        yield _Page(start, body, end, version, flags, serial, sequence, segments)
        start = end
