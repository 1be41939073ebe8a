"""Ogg pages (RFC 3533): what libsndfile leaves to chance when writing, and too lenient when reading."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

_HEADER = struct.Struct(
    "<4sBBqIIIB"
)  # capture, version, flags, position, serial, sequence, checksum, segments
_SERIAL = slice(14, 18)
_CHECKSUM = slice(22, 26)
_CONTINUED, _BEGINS = 0x01, 0x02
_MAX_PAGES_READ = 1024  # room for a cover picture in a comment; a million empty pages would only cost time
_FIXED_SERIAL = b"\x01\0\0\0"
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


def fix_headers(stream: bytes, opus_input_rate_hz: int | None = None) -> bytes:
    """The same Ogg file with serial number 1 and, in an OpusHead, the input rate as given.

    libsndfile draws the serial number from the clock, so that encoding the same audio twice gives
    different files. It only tells streams within one file apart, and there is one. The input rate
    says what the audio was before it was encoded (RFC 7845, section 5.1); libsndfile writes the
    rate of the encoder.
    """
    pages = bytearray(stream)
    for page in _pages(stream):
        if page.start == 0 and opus_input_rate_hz is not None:
            assert pages[page.body : page.body + 8] == b"OpusHead"
            pages[page.body + 12 : page.body + 16] = struct.pack("<I", opus_input_rate_hz)
        content = pages[page.start : page.end]
        content[_SERIAL] = _FIXED_SERIAL
        content[_CHECKSUM] = bytes(4)  # counts as zeros in its own sum
        content[_CHECKSUM] = struct.pack("<I", page_checksum(bytes(content)))
        pages[page.start : page.end] = content
    return bytes(pages)


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
