"""A look into a Vorbis setup header before libvorbis acts on it.

libvorbis takes room on the stack for every entry of a codebook, and a header may claim millions of
entries in twelve bytes: a file of 240 bytes ends the process. So the codebooks are read here first,
as the Vorbis I specification (section 3.2.1) lays them out, and only their sizes are kept.
"""

from __future__ import annotations

# Entries times dimensions over all codebooks. libvorbis's own encoder stays below 70,000 at
# any quality and rate, mono or stereo; a stack of 8 MiB gives out near a million.
MAX_CODEBOOK_VALUES = 2**18

_SYNC = 0x564342
_MAX_CODEWORD_BITS = 32


class VorbisError(ValueError):
    """The codebooks break the specification or are larger than any encoder makes them."""


def check_headers(identification: bytes, comment: bytes, setup: bytes) -> None:
    """Raise VorbisError unless the three header packets are safe to hand to libvorbis."""
    for kind, packet in ((1, identification), (3, comment), (5, setup)):
        if packet[:7] != bytes([kind]) + b"vorbis":
            raise VorbisError("header order")
    bits = _Bits(setup, start_byte=7)
    values_left = MAX_CODEBOOK_VALUES
    for _ in range(bits.take(8) + 1):
        values_left -= _skip_codebook(bits, values_left)


class _Bits:
    """Reads a packet from the least significant bit of each byte on (section 2.1.4)."""

    def __init__(self, packet: bytes, start_byte: int) -> None:
        self._packet = packet
        self._position = start_byte * 8

    def take(self, count: int) -> int:
        """The next ``count`` bits, at most 32, as an unsigned number."""
        first_byte, shift = divmod(self._position, 8)
        self.skip(count)
        return int.from_bytes(self._packet[first_byte : first_byte + 5], "little") >> shift & (
            (1 << count) - 1
        )

    def skip(self, count: int) -> None:
        self._position += count
        if self._position > len(self._packet) * 8:
            raise VorbisError("torn header")


def _skip_codebook(bits: _Bits, max_values: int) -> int:
    """Go past one codebook; returns its entries times its dimensions."""
    if bits.take(24) != _SYNC:
        raise VorbisError("codebook sync")
    dimensions, entries = bits.take(16), bits.take(24)
    if dimensions == 0 or entries * dimensions > max_values:
        raise VorbisError("codebook size")
    if bits.take(1):
        _skip_ordered_lengths(bits, entries)
    elif bits.take(1):
        for _ in range(entries):
            if bits.take(1):
                bits.skip(5)
    else:
        bits.skip(5 * entries)
    lookup = bits.take(4)
    if lookup > 2:
        raise VorbisError("codebook lookup")
    if lookup:
        bits.skip(32 + 32)
        value_bits = bits.take(4) + 1
        bits.skip(1)
        values = _lattice_values(entries, dimensions) if lookup == 1 else entries * dimensions
        bits.skip(value_bits * values)
    return entries * dimensions


def _skip_ordered_lengths(bits: _Bits, entries: int) -> None:
    """Runs of entries with codewords of rising length."""
    codeword_bits = bits.take(5) + 1
    entry = 0
    while entry < entries:
        if codeword_bits > _MAX_CODEWORD_BITS:
            raise VorbisError("codeword length")
        entry += bits.take((entries - entry).bit_length())
        codeword_bits += 1
    if entry > entries:
        raise VorbisError("codebook size")


def _lattice_values(entries: int, dimensions: int) -> int:
    """The greatest number whose ``dimensions``-th power is at most ``entries`` (section 9.2.3)."""
    value = int(entries ** (1 / dimensions))
    while value**dimensions > entries:
        value -= 1
    while (value + 1) ** dimensions <= entries:
        value += 1
    return value
