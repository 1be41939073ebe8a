"""Rewrites the headers of Ogg pages (RFC 3533) that libsndfile leaves to chance."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = struct.Struct(
    "<4sBBqIIIB"
)  # capture, version, flags, position, serial, sequence, checksum, segments
_SERIAL = slice(14, 18)
_CHECKSUM = slice(22, 26)
_FIXED_SERIAL = b"\x01\0\0\0"
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class _Page:
    """Byte offsets of one page."""

    start: int
    body: int
    end: int


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
    """The pages of a whole file, as an encoder wrote it."""
    start = 0
    while start < len(stream):
        capture, _, _, _, _, _, _, count = _HEADER.unpack_from(stream, start)
        body = start + _HEADER.size + count
        end = body + sum(stream[start + _HEADER.size : body])
        assert capture == b"OggS"
        assert end <= len(stream)
        yield _Page(start, body, end)
        start = end
