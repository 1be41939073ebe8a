"""Ogg files made to end the process do not reach the decoder; real ones do."""

import struct

import numpy as np
import pytest

from audio.decode import decode_audio
from audio.ogg import OggError, page_checksum, read_packets
from audio.vorbis import MAX_CODEBOOK_VALUES, VorbisError, check_headers
from errors import ReferenceInvalid
from tests.audio.test_decode import decode_with_little_memory
from tests.recordings import file_bytes, speech_like

IDENTIFICATION = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 1, 24_000, 0, 0, 0, 0xB8, 1)
COMMENT = b"\x03vorbis" + struct.pack("<IIB", 0, 0, 1)
SPEECH = file_bytes(speech_like(1.0), 24_000, "OGG", "VORBIS")


def page(packets, sequence, flags=0, version=0, serial=1) -> bytes:
    segments = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    header = b"OggS" + struct.pack("<BBqIIIB", version, flags, 0, serial, sequence, 0, len(segments))
    content = header + segments + b"".join(packets)
    return content[:22] + struct.pack("<I", page_checksum(content)) + content[26:]


def setup_packet(codebooks: int, entries_log2: int) -> bytes:
    """A setup header whose codebooks are sound and full, with everything after them minimal."""
    bits, length = 0, 0

    def put(value: int, count: int) -> None:
        nonlocal bits, length
        bits |= value << length
        length += count

    put(codebooks - 1, 8)
    for number in range(codebooks):
        log2 = entries_log2 if number else 1
        put(0x564342, 24)
        put(1, 16)
        put(1 << log2, 24)
        put(1, 1)  # ordered: all entries share one length
        put(log2 - 1, 5)
        put(1 << log2, log2 + 1)
        put(0, 4)
    # One time domain, floor 1 without partitions, one residue, mapping and mode; then the end.
    for value, count in [(0, 6), (0, 16), (0, 6), (1, 16), (0, 5), (0, 2), (4, 4)]:
        put(value, count)
    for value, count in [(0, 6), (2, 16), (0, 24), (0, 24), (0, 24), (0, 6), (0, 8), (0, 4)]:
        put(value, count)
    for value, count in [(0, 6), (0, 16), (0, 2), (0, 2), (0, 24), (0, 6), (0, 1), (0, 40), (1, 1)]:
        put(value, count)
    return b"\x05vorbis" + bits.to_bytes((length + 7) // 8, "little")


def vorbis_file(setup: bytes) -> bytes:
    return page([IDENTIFICATION], 0, flags=2) + page([COMMENT, setup], 1) + page([bytes(20)], 2, flags=4)


HUGE = setup_packet(4, 22)


def test_a_small_file_with_huge_codebooks_is_refused_and_the_process_lives_on():
    bomb = vorbis_file(HUGE)
    assert len(bomb) < 300
    assert "damaged" in decode_with_little_memory(bomb)


def test_the_same_file_with_modest_codebooks_reaches_the_decoder():
    assert "no audio" in decode_with_little_memory(vorbis_file(setup_packet(2, 4)))


DECOYS = {
    "a first page with a wrong checksum": b"OggS\0" + SPEECH[5:40] + b"x" + vorbis_file(HUGE),
    "a first page of another version": page([IDENTIFICATION], 0, 2, version=1) + vorbis_file(HUGE),
    "a page of another stream": page([IDENTIFICATION], 0, 2)
    + page([COMMENT, setup_packet(2, 4)], 1, serial=2)
    + vorbis_file(HUGE)[len(page([IDENTIFICATION], 0, 2)) :],
    "a page out of order": page([IDENTIFICATION], 0, 2)
    + page([COMMENT, setup_packet(2, 4)], 7)
    + vorbis_file(HUGE)[len(page([IDENTIFICATION], 0, 2)) :],
    "a page that continues nothing": page([IDENTIFICATION], 0, 2)
    + page([COMMENT, setup_packet(2, 4)], 1, flags=1)
    + page([COMMENT, HUGE], 2),
}


@pytest.mark.parametrize("data", DECOYS.values(), ids=DECOYS)
def test_pages_that_the_decoder_passes_over_cannot_hide_what_follows(data):
    assert "damaged" in decode_with_little_memory(data)


def test_an_ogg_of_another_codec_is_refused():
    with pytest.raises(ReferenceInvalid, match="encoding that is not supported"):
        decode_audio(page([b"Speex   1.2"], 0, flags=2))


def test_a_million_empty_pages_are_not_read_to_the_end():
    with pytest.raises(OggError, match="too few packets"):
        read_packets(page([], 0, flags=2) + b"".join(page([], n) for n in range(1, 3_000)), 1)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_what_encoders_really_write_passes(sample_rate_hz, channels):
    samples = np.stack([speech_like(0.5, sample_rate_hz)] * channels, axis=1)
    for subtype in ("VORBIS", "OPUS") if sample_rate_hz in (8_000, 16_000, 48_000) else ("VORBIS",):
        data = file_bytes(samples, sample_rate_hz, "OGG", subtype)
        assert decode_audio(data).duration_s == pytest.approx(0.5, abs=0.01)


def test_headers_that_span_pages_are_read():
    identification, _, setup = read_packets(SPEECH, 3)
    picture = b"METADATA_BLOCK_PICTURE=" + bytes(200_000)
    comment = b"\x03vorbis" + struct.pack("<III", 0, 1, len(picture)) + picture + b"\x01"
    rest = SPEECH[SPEECH.index(setup[-64:]) + 64 :]  # the audio pages; their numbers no longer follow
    stream = page([identification], 0, flags=2)
    body = comment + setup
    segments = [255] * (len(comment) // 255) + [len(comment) % 255]
    segments += [255] * (len(setup) // 255) + [len(setup) % 255]
    sequence, position, continued = 1, 0, 0
    for start in range(0, len(segments), 255):
        table = segments[start : start + 255]
        header = b"OggS" + struct.pack("<BBqIIIB", 0, continued, 0, 1, sequence, 0, len(table)) + bytes(table)
        content = header + body[position : position + sum(table)]
        stream += content[:22] + struct.pack("<I", page_checksum(content)) + content[26:]
        continued = 1 if table[-1] == 255 else 0
        position += sum(table)
        sequence += 1
    assert read_packets(stream + rest, 3) == [identification, comment, setup]
    check_headers(identification, comment, setup)


@pytest.mark.parametrize("cut", [7, 8, 20, 100, 1_000])
def test_torn_codebooks_are_refused(cut):
    identification, comment, setup = read_packets(SPEECH, 3)
    with pytest.raises(VorbisError):
        check_headers(identification, comment, setup[:cut])


def test_headers_out_of_order_are_refused():
    identification, comment, setup = read_packets(SPEECH, 3)
    with pytest.raises(VorbisError, match="order"):
        check_headers(identification, setup, comment)


def test_the_sum_over_all_codebooks_is_limited():
    assert 2**10 * 255 < MAX_CODEBOOK_VALUES < 2**11 * 255
    check_headers(IDENTIFICATION, COMMENT, setup_packet(256, 10))
    with pytest.raises(VorbisError, match="size"):
        check_headers(IDENTIFICATION, COMMENT, setup_packet(256, 11))
