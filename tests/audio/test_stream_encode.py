"""The parts of a stream are one file: put end to end they decode without a seam, at full length."""

import io
import struct
from itertools import accumulate, cycle, pairwise, takewhile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from audio.encode import (
    CONTENT_TYPES,
    FORMATS,
    SAMPLE_RATES_HZ,
    StreamEncoder,
    content_type,
    encode,
    encode_chunks,
)
from audio.waveform import Waveform, resample
from tests.audio.test_encode import mu_law_decode
from tests.recordings import silence, speech_like, tone

RATE_HZ = 24_000
SPEECH = speech_like(4.0)
UNEVEN = (24_000, 1, 9_999, 480, 7, 31_234)
AAC_DELAY_SAMPLES, AAC_PADDING_SAMPLES = 1_024, 3 * 1_024
MP3_DELAY_SAMPLES = 1_105  # LAME's 576 and the decoder's 529
EVERY_FORMAT_AT_EVERY_RATE = [(format, rate_hz) for format in FORMATS for rate_hz in SAMPLE_RATES_HZ]


def cut(samples: np.ndarray, sizes) -> list[np.ndarray]:
    """The samples in consecutive chunks of these sizes, over and over."""
    ends = takewhile(lambda end: end < len(samples), accumulate(cycle(sizes)))
    return np.split(samples, list(ends))


def stream(chunks, format: str, sample_rate_hz: int) -> list[bytes]:
    encoder = StreamEncoder(format, sample_rate_hz)
    return [*map(encoder.add, chunks), encoder.finish()]


def decode(data: bytes, format: str, sample_rate_hz: int) -> np.ndarray:
    """The samples that FFmpeg hears, at the rate asked for."""
    if format == "pcm":
        return np.frombuffer(data, "<i2") / np.float32(32768)
    if format == "ulaw":
        return mu_law_decode(data).astype(np.float32)
    with av.open(io.BytesIO(data)) as file:
        frames = [frame.to_ndarray().ravel() for frame in file.decode(audio=0)]
        rate_hz = file.streams.audio[0].rate
    samples = np.concatenate(frames) if frames else np.zeros(0, np.int16)
    if samples.dtype == np.int16:
        samples = samples / np.float32(32768)
    if format == "opus":
        return resample(Waveform(samples, rate_hz), sample_rate_hz).samples
    assert rate_hz == sample_rate_hz
    return samples


def ogg_pages(data: bytes) -> list[tuple[int, int, int, int]]:
    """Flags, granule position, serial and sequence number of each page."""
    pages, start = [], 0
    while start < len(data):
        capture, _, flags, position, serial, sequence, _, segments = struct.unpack_from(
            "<4sBBqIIIB", data, start
        )
        assert capture == b"OggS"
        pages.append((flags, position, serial, sequence))
        start += 27 + segments + sum(data[start + 27 : start + 27 + segments])
    assert start == len(data)
    return pages


@pytest.mark.parametrize(("format", "sample_rate_hz"), EVERY_FORMAT_AT_EVERY_RATE)
def test_parts_put_end_to_end_decode_to_the_samples_of_the_whole_file(format, sample_rate_hz):
    joined = decode(b"".join(stream(cut(SPEECH, UNEVEN), format, sample_rate_hz)), format, sample_rate_hz)
    whole = decode(encode(Waveform(SPEECH, RATE_HZ), format, sample_rate_hz), format, sample_rate_hz)
    length = round(len(SPEECH) * sample_rate_hz / RATE_HZ)
    assert -1 <= len(whole) - length <= (AAC_PADDING_SAMPLES if format == "aac" else 1)
    if format == "mp3":  # nothing tells a decoder of the stream to cut the padding
        assert length + MP3_DELAY_SAMPLES <= len(joined) <= length + MP3_DELAY_SAMPLES + 2 * 1152
        joined = joined[MP3_DELAY_SAMPLES:][: len(whole)]
        np.testing.assert_allclose(joined, whole, rtol=0, atol=1e-6)
    else:
        np.testing.assert_array_equal(joined, whole)


@pytest.mark.parametrize(("format", "sample_rate_hz"), EVERY_FORMAT_AT_EVERY_RATE)
def test_the_bytes_do_not_depend_on_how_the_samples_are_divided(format, sample_rate_hz):
    short = SPEECH[:30_011]
    expected = b"".join(stream([short], format, sample_rate_hz))
    for sizes in (UNEVEN, (1_000,)):
        assert b"".join(stream(cut(short, sizes), format, sample_rate_hz)) == expected
        chunks = iter(cut(short, sizes))
        assert encode_chunks(chunks, format, sample_rate_hz) == encode(
            Waveform(short, RATE_HZ), format, sample_rate_hz
        )


@pytest.mark.parametrize("sample_rate_hz", [8_000, 24_000])
@pytest.mark.parametrize("format", FORMATS)
def test_samples_may_come_one_by_one(format, sample_rate_hz):
    short = SPEECH[:3_000]
    assert b"".join(stream(cut(short, (1,)), format, sample_rate_hz)) == b"".join(
        stream([short], format, sample_rate_hz)
    )


def sine_error(decoded: np.ndarray, frequency_hz: float, sample_rate_hz: int) -> np.ndarray:
    """What is left of a sine when the best fitting one, of any level and phase, is taken away."""
    angle = 2 * np.pi * frequency_hz / sample_rate_hz * np.arange(len(decoded))
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    inner = slice(len(decoded) // 10, -len(decoded) // 10)
    fit = np.linalg.lstsq(basis[inner], decoded[inner].astype(np.float64), rcond=None)[0]
    return np.abs(decoded - basis @ fit)


def errors_at_seams_and_elsewhere(decoded, chunks, delay_samples, sample_rate_hz) -> tuple[float, float]:
    """The largest error of a sine within 10 ms of where chunks meet, and elsewhere but near the ends."""
    error = sine_error(decoded, 439.7, sample_rate_hz)
    at_seams = np.zeros(len(error), bool)
    for end in np.cumsum([len(chunk) for chunk in chunks])[:-1]:
        seam = round(end * sample_rate_hz / RATE_HZ) + delay_samples
        at_seams[seam - sample_rate_hz // 100 : seam + sample_rate_hz // 100] = True
    inner = np.zeros(len(error), bool)
    inner[sample_rate_hz // 4 : -sample_rate_hz // 4] = True
    return error[inner & at_seams].max(), error[inner & ~at_seams].max()


@pytest.mark.parametrize(("format", "sample_rate_hz"), EVERY_FORMAT_AT_EVERY_RATE)
def test_a_sine_has_no_larger_error_where_chunks_meet_than_elsewhere(format, sample_rate_hz):
    chunks = cut(tone(5.0, 439.7), (17_777,))
    decoded = decode(b"".join(stream(chunks, format, sample_rate_hz)), format, sample_rate_hz)
    delay = {"mp3": MP3_DELAY_SAMPLES, "aac": AAC_DELAY_SAMPLES}.get(format, 0)
    at_seams, elsewhere = errors_at_seams_and_elsewhere(decoded, chunks, delay, sample_rate_hz)
    assert at_seams <= 1.1 * elsewhere


def test_the_measure_of_seams_sees_those_of_chunks_that_are_resampled_one_by_one():
    chunks = cut(tone(5.0, 439.7), (17_777,))
    files = [encode(Waveform(chunk, RATE_HZ), "pcm", 48_000) for chunk in chunks]
    decoded = decode(b"".join(files), "pcm", 48_000)
    at_seams, elsewhere = errors_at_seams_and_elsewhere(decoded, chunks, 0, 48_000)
    assert at_seams > 10 * elsewhere


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_not_heard_is_not_held_back_for_long(format):
    """The longest is a page of Ogg, a second of it."""
    for sample_rate_hz in (8_000, 48_000):
        parts = stream(cut(np.tile(SPEECH, 2), (2_400,)), format, sample_rate_hz)
        ready = [index for index, part in enumerate(parts) if part]
        assert max(later - earlier for earlier, later in pairwise(ready)) <= 15  # tenths of a second


@pytest.mark.parametrize("sample_rate_hz", SAMPLE_RATES_HZ)
def test_parts_of_pcm_and_ulaw_can_be_used_one_by_one(sample_rate_hz):
    chunks = cut(SPEECH, UNEVEN)
    for format, sample_bytes in (("pcm", 2), ("ulaw", 1)):
        parts = stream(chunks, format, sample_rate_hz)
        assert all(len(part) % sample_bytes == 0 for part in parts)
        decoded = np.concatenate([decode(part, format, sample_rate_hz) for part in parts])
        np.testing.assert_allclose(
            decoded, resample(Waveform(SPEECH, RATE_HZ), sample_rate_hz).samples, rtol=0, atol=0.02
        )


def test_a_wav_stream_states_that_its_size_is_unknown_in_its_first_part():
    first, *rest = (part for part in stream(cut(SPEECH, UNEVEN), "wav", RATE_HZ) if part)
    assert (first[:8], first[36:44]) == (b"RIFF\xff\xff\xff\xff", b"data\xff\xff\xff\xff")
    whole = encode(Waveform(SPEECH, RATE_HZ), "wav", RATE_HZ)
    assert struct.unpack_from("<I", whole, 4) == (len(whole) - 8,)
    assert struct.unpack_from("<I", whole, 40) == (len(whole) - 44,)
    assert first[44:] + b"".join(rest) == whole[44:]


def test_a_flac_stream_leaves_its_length_and_digest_open_and_a_whole_file_states_them():
    streamed = b"".join(stream(cut(SPEECH, UNEVEN), "flac", RATE_HZ))
    whole = encode_chunks(iter(cut(SPEECH, UNEVEN)), "flac", RATE_HZ)
    # RFC 9639, section 8.2: 36 bits of sample count and 16 bytes of MD5 end STREAMINFO, at byte 42.
    assert int.from_bytes(streamed[21:26], "big") & (1 << 36) - 1 == 0
    assert streamed[26:42] == bytes(16)
    assert int.from_bytes(whole[21:26], "big") & (1 << 36) - 1 == len(SPEECH)
    assert whole[26:42] != bytes(16)
    assert streamed[42:] == whole[42:]


@pytest.mark.parametrize("sample_rate_hz", SAMPLE_RATES_HZ)
def test_an_mp3_stream_is_the_whole_file_without_its_info_tag(sample_rate_hz):
    streamed = b"".join(stream(cut(SPEECH, UNEVEN), "mp3", sample_rate_hz))
    whole = encode(Waveform(SPEECH, RATE_HZ), "mp3", sample_rate_hz)
    tag = whole[: len(whole) - len(streamed)]
    assert b"Info" in tag
    assert streamed[:2] == whole[:2]  # the header of a frame
    assert tag + streamed == whole
    assert not {b"Info", b"Xing", b"LAME3"} & {streamed[at : at + 5] for at in range(500)}


@pytest.mark.parametrize(("format", "sample_rate_hz"), [("ogg", 22_050), ("opus", 22_050), ("opus", 48_000)])
def test_an_ogg_stream_is_one_logical_stream_that_ends_at_its_last_sample(format, sample_rate_hz):
    data = b"".join(stream(cut(SPEECH, UNEVEN), format, sample_rate_hz))
    pages = ogg_pages(data)
    begins, ends = 0x02, 0x04
    assert [page[0] & (begins | ends) for page in pages] == [begins, *[0] * (len(pages) - 2), ends]
    assert {page[2] for page in pages} == {1}
    assert [page[3] for page in pages] == list(range(len(pages)))
    positions = [page[1] for page in pages if page[1] >= 0]
    assert positions == sorted(positions)
    if format == "ogg":
        assert positions[-1] == round(len(SPEECH) * sample_rate_hz / RATE_HZ)
    else:
        head = data.index(b"OpusHead")
        pre_skip, input_rate_hz = struct.unpack_from("<HI", data, head + 10)
        assert input_rate_hz == sample_rate_hz
        assert positions[-1] - pre_skip == len(SPEECH) * 2


@pytest.mark.parametrize("sample_rate_hz", [8_000, 24_000, 48_000])
@pytest.mark.parametrize("samples", [silence(0.0), tone(1 / RATE_HZ), tone(3 / RATE_HZ)], ids=len)
@pytest.mark.parametrize("format", FORMATS)
def test_next_to_nothing_is_a_valid_file(format, samples, sample_rate_hz):
    for data in (
        b"".join(stream([samples], format, sample_rate_hz)),
        b"".join(stream([silence(0.0), samples, silence(0.0)], format, sample_rate_hz)),
        b"".join(stream([samples] if len(samples) else [], format, sample_rate_hz)),
        encode(Waveform(samples, RATE_HZ), format, sample_rate_hz),
    ):
        decoded = decode(data, format, sample_rate_hz)
        # FFmpeg does not cut the end of a Vorbis file of two blocks; libvorbis does.
        padding = {"mp3": MP3_DELAY_SAMPLES + 2 * 1152, "ogg": 576, "aac": AAC_PADDING_SAMPLES}
        padding = padding.get(format, 1)
        length = len(samples) * sample_rate_hz / RATE_HZ
        assert len(decoded) <= length + padding
        if format == "ogg":
            assert soundfile.info(io.BytesIO(data)).frames == pytest.approx(max(length, 1), abs=1)


def test_samples_beyond_full_scale_are_clipped_in_a_stream_as_in_a_file():
    loud = tone(1.0, 300, peak=3.0)
    for format in ("pcm", "ulaw"):
        parts = stream(cut(loud, UNEVEN), format, 48_000)
        assert b"".join(parts) == encode(Waveform(loud, RATE_HZ), format, 48_000)
        assert np.abs(decode(b"".join(parts), format, 48_000)).max() > 0.97


def test_what_stops_the_chunks_stops_the_encoding():
    class StoppedError(Exception):
        pass

    def chunks():
        yield SPEECH
        raise StoppedError

    for format in FORMATS:
        with pytest.raises(StoppedError):
            encode_chunks(chunks(), format, 48_000)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize(
    ("format", "minutes"),
    [
        ("wav", 60),
        ("flac", 60),
        ("pcm", 60),
        ("ulaw", 60),
        pytest.param("aac", 30, marks=pytest.mark.slow),
        pytest.param("mp3", 30, marks=pytest.mark.slow),
        pytest.param("ogg", 60, marks=pytest.mark.slow),
    ],
)
def test_the_memory_of_a_long_stream_is_that_of_a_minute(format, minutes):
    encoder = StreamEncoder(format, RATE_HZ)
    minute = np.tile(SPEECH, 15)
    encoder.add(minute)
    before = resident_bytes()
    encoded = sum(len(encoder.add(minute)) for _ in range(minutes - 1)) + len(encoder.finish())
    assert encoded > 20_000_000
    assert resident_bytes() - before < 10_000_000


@pytest.mark.slow
def test_an_hour_of_a_stream_is_read_at_its_full_length():
    minute = np.tile(SPEECH, 15)
    for format in ("flac", "ogg"):
        data = b"".join(stream([minute] * 60, format, 8_000))
        with av.open(io.BytesIO(data)) as file:
            assert sum(frame.samples for frame in file.decode(audio=0)) == 3600 * 8_000


def test_content_types_name_the_format_and_the_rate_of_what_has_no_header():
    assert tuple(CONTENT_TYPES) == FORMATS
    assert content_type("wav", 24_000) == "audio/wav"
    assert content_type("mp3", 24_000) == "audio/mpeg"
    assert content_type("flac", 24_000) == "audio/flac"
    assert content_type("ogg", 24_000) == "audio/ogg"
    assert content_type("aac", 24_000) == "audio/aac"
    assert content_type("opus", 24_000) == "audio/ogg; codecs=opus"
    assert content_type("pcm", 24_000) == "audio/pcm; rate=24000"
    assert content_type("ulaw", 8_000) == "audio/PCMU; rate=8000"
