"""The bytes are what the format's name says, at every rate, and decode to what went in."""

import io
import struct

import av
import numpy as np
import pytest
import soundfile

from audio.decode import decode_audio
from audio.encode import FORMATS, SAMPLE_RATES_HZ, encode, encode_lossless
from audio.waveform import Waveform, resample
from tests.recordings import speech_like, tone

SPEECH = Waveform(speech_like(3.0), 24_000)
CONTAINERS = {
    "wav": ("WAV", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
# Signal to error in dB against the resampled source. LAME plays 5 % quieter, which alone is 26 dB;
# Opus below 48 kHz is half a sample late.
LEAST_SNR_DB = {"wav": 60, "flac": 60, "pcm": 60, "ulaw": 30, "mp3": 18, "ogg": 12, "opus": 6, "aac": 12}
AAC_DELAY_SAMPLES, AAC_FRAME_SAMPLES = 1_024, 1_024  # ADTS frames tell no decoder what to cut


def mu_law_decode(data: bytes) -> np.ndarray:
    """G.711 table 2a by its formula: sign, 3 bits of exponent, 4 of mantissa, all inverted."""
    code = ~np.frombuffer(data, dtype=np.uint8)
    magnitude = (((code & 0x0F).astype(int) << 3) + 0x84 << ((code >> 4) & 0x07)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude) / 32768


def decode(data: bytes, format: str, sample_rate_hz: int) -> np.ndarray:
    """The samples at the rate asked for, decoded without any code of ours."""
    if format == "pcm":
        return np.frombuffer(data, dtype="<i2") / 32768
    if format == "ulaw":
        return mu_law_decode(data)
    if format == "aac":
        with av.open(io.BytesIO(data)) as file:
            assert file.streams.audio[0].rate == sample_rate_hz
            frames = [frame.to_ndarray()[0] for frame in file.decode(audio=0)]
        return np.concatenate(frames)[AAC_DELAY_SAMPLES:]
    samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
    if format == "opus":
        return resample(Waveform(samples, rate_hz), sample_rate_hz).samples
    assert rate_hz == sample_rate_hz
    return samples


def snr_db(decoded: np.ndarray, source: np.ndarray) -> float:
    error = decoded[: len(source)] - source[: len(decoded)]
    return float(10 * np.log10(np.square(source).sum() / np.square(error).sum()))


@pytest.mark.parametrize("sample_rate_hz", SAMPLE_RATES_HZ)
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_at_every_rate_decodes_to_the_source_at_its_full_length(format, sample_rate_hz):
    data = encode(SPEECH, format, sample_rate_hz)
    source = resample(SPEECH, sample_rate_hz).samples
    decoded = decode(data, format, sample_rate_hz)
    most = len(source) + (2 * AAC_FRAME_SAMPLES if format == "aac" else 1)
    assert len(source) - 1 <= len(decoded) <= most
    assert snr_db(decoded, source) > LEAST_SNR_DB[format]
    if format in CONTAINERS:
        info = soundfile.info(io.BytesIO(data))
        assert (info.format, info.subtype) == CONTAINERS[format]
        assert info.channels == 1


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_samples_give_the_same_bytes(format):
    assert encode(SPEECH, format, 24_000) == encode(SPEECH, format, 24_000)


@pytest.mark.parametrize("format", [*CONTAINERS, "aac"])
def test_what_we_encode_we_can_decode(format):
    length = pytest.approx(3.0, abs=0.13 if format == "aac" else 0.001)
    assert decode_audio(encode(SPEECH, format, 24_000)).duration_s == length


@pytest.mark.parametrize("format", FORMATS)
def test_samples_beyond_full_scale_are_clipped_and_never_wrap_around(format):
    loud = Waveform(tone(1.0, 300, peak=3.0), 24_000)
    decoded = decode(encode(loud, format, 24_000), format, 24_000)
    ideal = np.clip(loud.samples, -1.0, 1.0)
    assert snr_db(decoded, ideal) > 6  # a wrapped sample is off by 2


def test_full_scale_reaches_the_ends_of_16_bit():
    ends = Waveform(np.array([1.0, -1.0, 0.0, 9.0], dtype=np.float32), 24_000)
    assert encode(ends, "pcm", 24_000) == struct.pack("<4h", 32767, -32767, 0, 32767)


def test_ulaw_is_g711_for_every_16_bit_value():
    values = np.arange(-32768, 32768)
    encoded = encode(Waveform((values / 32767).astype(np.float32), 8_000), "ulaw", 8_000)
    magnitude = np.minimum(np.abs(np.clip(values, -32767, 32767)), 32635) + 0x84
    exponent = np.floor(np.log2(magnitude)).astype(int) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    expected = ~(np.where(values < 0, 0x80, 0) | exponent << 4 | mantissa) & 0xFF
    np.testing.assert_array_equal(np.frombuffer(encoded, np.uint8), expected)


@pytest.mark.parametrize(
    ("sample_rate_hz", "kbps"),
    [(8_000, 64), (16_000, 128), (22_050, 128), (24_000, 128), (44_100, 128), (48_000, 128)],
)
def test_mp3_has_a_constant_bit_rate(sample_rate_hz, kbps):
    data = encode(SPEECH, "mp3", sample_rate_hz)
    mpeg1 = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    mpeg2 = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    frames, start = 0, 0
    while start < len(data):
        version, rate_code = data[start + 1] >> 3 & 0b11, data[start + 2] >> 4
        assert (mpeg1 if version == 0b11 else mpeg2)[rate_code] == kbps
        samples_per_frame = 1152 if version == 0b11 else 576
        padding = data[start + 2] >> 1 & 1
        start += samples_per_frame // 8 * kbps * 1000 // sample_rate_hz + padding
        frames += 1
    assert start == len(data)
    assert frames > 3.0 * sample_rate_hz / samples_per_frame


def test_opus_keeps_the_rate_asked_for_in_its_header():
    for sample_rate_hz in SAMPLE_RATES_HZ:
        data = encode(SPEECH, "opus", sample_rate_hz)
        head = data.index(b"OpusHead")
        assert struct.unpack_from("<I", data, head + 12) == (sample_rate_hz,)


def test_ten_minutes_of_vorbis_are_encoded_whole():
    long = Waveform(np.resize(SPEECH.samples, 24_000 * 600), 24_000)
    assert soundfile.info(io.BytesIO(encode(long, "ogg", 24_000))).duration == pytest.approx(600.0)


@pytest.mark.parametrize("format", ["ogg", "opus"])
def test_the_checksums_of_ogg_pages_match_their_definition(format):
    """RFC 3533, section 6, bit by bit."""
    data = encode(SPEECH, format, 24_000)
    page = bytearray(data[: data.index(b"OggS", 4)])
    stated = struct.unpack_from("<I", page, 22)
    page[22:26] = bytes(4)
    remainder = 0
    for byte in page:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x04C11DB7 if remainder >> 31 else 0)) & 0xFFFFFFFF
    assert stated == (remainder,)


def test_lossless_is_flac_of_24_bit_at_the_rate_of_the_recording():
    data = encode_lossless(Waveform(speech_like(1.0, 16_000), 16_000))
    info = soundfile.info(io.BytesIO(data))
    assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_24", 1)
    assert (info.samplerate, info.frames) == (16_000, 16_000)


def test_lossless_keeps_every_sample_to_24_bit():
    samples, _ = soundfile.read(io.BytesIO(encode_lossless(SPEECH)), dtype="float32")
    np.testing.assert_allclose(samples, SPEECH.samples, rtol=0, atol=2**-24)


@pytest.mark.parametrize("bits", [16, 24])
def test_lossless_is_exact_for_a_recording_of_so_many_bits(bits):
    levels = np.random.default_rng(bits).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), 10_000)
    recording = Waveform((levels / 2 ** (bits - 1)).astype(np.float32), 24_000)
    samples, _ = soundfile.read(io.BytesIO(encode_lossless(recording)), dtype="float32")
    np.testing.assert_array_equal(samples, recording.samples)


def test_lossless_clips_beyond_full_scale_and_never_wraps_around():
    loud = Waveform(tone(1.0, 300, peak=3.0), 24_000)
    samples, _ = soundfile.read(io.BytesIO(encode_lossless(loud)), dtype="float32")
    np.testing.assert_allclose(samples, loud.samples.clip(-1, 1), rtol=0, atol=2**-22)
