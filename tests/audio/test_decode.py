"""What a stranger may send, within limits, and a sentence for everything else."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.decode import RECORDING_SUFFIXES, decode_audio
from audio.encode import _ogg_checksum as ogg_checksum
from audio.ffmpeg_child import CONTAINERS
from audio.limits import LONG
from audio.waveform import Waveform, resample
from errors import ReferenceInvalid
from tests.recordings import file_bytes, silence, speech_like, wav_bytes

PROJECT = Path(__file__).parents[2]
SPEECH = speech_like(2.0)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    n = min(len(a), len(b))
    return float(np.corrcoef(a[:n], b[:n])[0, 1])


def with_total_samples(flac: bytes, total: int) -> bytes:
    """A FLAC file whose STREAMINFO claims ``total`` samples, 0 being unknown."""
    patched = bytearray(flac)
    patched[21] = patched[21] & 0xF0 | total >> 32
    patched[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    return bytes(patched)


@pytest.mark.parametrize(
    ("container", "subtype", "least_correlation"),
    [
        ("WAV", "PCM_U8", 0.999),
        ("WAV", "PCM_16", 0.99999),
        ("WAV", "PCM_24", 0.99999),
        ("WAV", "PCM_32", 0.99999),
        ("WAV", "FLOAT", 0.99999),
        ("WAV", "DOUBLE", 0.99999),
        ("WAV", "ULAW", 0.999),
        ("WAV", "ALAW", 0.999),
        ("WAVEX", "PCM_24", 0.99999),
        ("FLAC", "PCM_S8", 0.999),
        ("FLAC", "PCM_16", 0.99999),
        ("FLAC", "PCM_24", 0.99999),
        ("OGG", "VORBIS", 0.98),
        ("OGG", "OPUS", 0.9),
        ("MP3", "MPEG_LAYER_III", 0.98),
    ],
)
def test_every_supported_encoding_comes_back_as_it_was(container, subtype, least_correlation):
    decoded = decode_audio(file_bytes(SPEECH, 24_000, container, subtype))
    assert decoded.sample_rate_hz == 24_000
    assert decoded.samples.dtype == np.float32
    assert decoded.samples.flags.c_contiguous
    assert decoded.duration_s == pytest.approx(2.0, abs=0.001)
    assert correlation(decoded.samples, SPEECH) > least_correlation


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAVEX", "PCM_24"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AIFF", "PCM_24"),
        ("CAF", "PCM_16"),
        ("AU", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
    ],
)
def test_lossless_recordings_are_read_bit_for_bit(container, subtype, channels):
    sides = np.stack([speech_like(1.0, 44_100, seed) for seed in range(channels)], axis=1)
    data = file_bytes(sides, 44_100, container, subtype)
    frames, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    expected = resample(Waveform(frames.mean(axis=1, dtype=np.float32), 44_100), 24_000)
    np.testing.assert_array_equal(decode_audio(data).samples, expected.samples)


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM"])
def test_the_encodings_of_answering_machines_are_read(subtype):
    speech = speech_like(2.0, 8_000)
    decoded = decode_audio(file_bytes(speech, 8_000, "WAV", subtype))
    expected = resample(Waveform(speech, 8_000), 24_000).samples
    assert correlation(decoded.samples, expected) > 0.9


def test_the_recording_is_decoded_in_the_child_alone():
    """No parser of the worker's own process sees the bytes: it decodes without the libraries for it."""
    program = (
        "import sys\n"
        "sys.modules['soundfile'] = sys.modules['av'] = None\n"
        "from audio.decode import decode_audio\n"
        "print(decode_audio(sys.stdin.buffer.read()).duration_s)\n"
    )
    for container in ("WAV", "FLAC", "MP3", "OGG"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=file_bytes(SPEECH, 24_000, container),
            capture_output=True,
            cwd=PROJECT,
            check=True,
        )
        assert float(done.stdout) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_any_rate_becomes_24_khz_without_a_change_of_length_or_level(sample_rate_hz):
    there = resample(Waveform(SPEECH, 24_000), sample_rate_hz)
    back = decode_audio(wav_bytes(there.samples, sample_rate_hz, "FLOAT"))
    assert back.duration_s == pytest.approx(2.0, abs=0.001)
    assert correlation(back.samples, SPEECH) > (0.95 if sample_rate_hz < 16_000 else 0.995)


def test_stereo_becomes_the_mean_of_its_channels():
    left, right = speech_like(1.0, seed=1), speech_like(1.0, seed=2)
    decoded = decode_audio(wav_bytes(np.stack([left, right], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(decoded.samples, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("channels", [3, 4, 6, 8])
def test_more_channels_become_the_mean_of_them(channels):
    sides = np.stack([speech_like(1.0, seed=seed) for seed in range(channels)], axis=1)
    decoded = decode_audio(wav_bytes(sides, subtype="FLOAT"))
    np.testing.assert_allclose(decoded.samples, sides.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("other", [-1.0, -0.9, -0.5])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_a_side_that_is_inverted_does_not_silence_the_other(other, offset):
    room = 1e-4 * np.random.default_rng(0).standard_normal(len(SPEECH)).astype(np.float32)
    sides = np.stack([SPEECH, other * SPEECH + room], axis=1) * 0.8 + offset
    decoded = decode_audio(wav_bytes(sides, subtype="FLOAT"))
    np.testing.assert_allclose(np.abs(decoded.samples), np.abs(SPEECH * 0.8), atol=6e-3)


def test_two_microphones_with_nothing_in_common_are_averaged():
    sides = np.stack([SPEECH, speech_like(2.0, seed=5)], axis=1)
    decoded = decode_audio(wav_bytes(sides, subtype="FLOAT"))
    np.testing.assert_allclose(decoded.samples, sides.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("offset", [-0.8, 0.3])
def test_an_offset_is_taken_off(offset):
    quiet = SPEECH * 0.15
    decoded = decode_audio(wav_bytes(quiet + offset))
    np.testing.assert_allclose(decoded.samples, quiet, atol=2e-3)


def test_audio_beyond_full_scale_is_scaled_to_fit_not_clipped():
    decoded = decode_audio(wav_bytes(SPEECH * 30_000, subtype="FLOAT"))
    assert np.abs(decoded.samples).max() == 1.0
    assert correlation(decoded.samples, SPEECH) > 0.99999


def test_flac_of_unknown_length_is_read_to_its_end():
    streamed = with_total_samples(file_bytes(SPEECH, 24_000, "FLAC"), 0)
    np.testing.assert_allclose(decode_audio(streamed).samples, SPEECH, atol=1e-4)


@pytest.mark.parametrize("claim", [b"\xff\xff\xff\xff", bytes(4)])
def test_wav_written_to_a_pipe_is_read_to_its_end(claim):
    piped = bytearray(wav_bytes(SPEECH))
    piped[4:8] = piped[40:44] = claim
    np.testing.assert_allclose(decode_audio(bytes(piped)).samples, SPEECH, atol=1e-4)


def test_opus_without_its_end_flag_is_read_whole():
    whole = file_bytes(SPEECH, 24_000, "OGG", "OPUS")
    last = whole.rindex(b"OggS")
    flags = bytearray(whole[last:])
    flags[5] &= ~0x04
    flags[22:26] = bytes(4)
    flags[22:26] = struct.pack("<I", ogg_checksum(bytes(flags)))
    decoded = decode_audio(whole[:last] + bytes(flags))
    assert decoded.duration_s == pytest.approx(2.0, abs=0.03)
    assert correlation(decoded.samples, SPEECH) > 0.9


def test_zeros_before_an_mp3_are_passed_over():
    decoded = decode_audio(bytes(3_000) + file_bytes(SPEECH, 24_000, "MP3"))
    assert decoded.duration_s == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("container", ["MP3", "FLAC", "OGG"])
def test_joined_recordings_are_read_whole(container):
    first, second = speech_like(2.0, seed=1), speech_like(3.0, seed=2)
    joined = file_bytes(first, 24_000, container) + file_bytes(second, 24_000, container)
    assert decode_audio(joined).duration_s == pytest.approx(5.0, abs=0.15)


def test_joined_mp3s_of_two_rates_and_layouts_are_read_whole():
    first, second = speech_like(2.0, 16_000, 1), speech_like(3.0, 44_100, 2)
    joined = file_bytes(first, 16_000, "MP3") + file_bytes(np.stack([second, second], axis=1), 44_100, "MP3")
    decoded = decode_audio(joined)
    assert decoded.duration_s == pytest.approx(5.0, abs=0.2)
    end = resample(Waveform(second, 44_100), 24_000).samples[-24_000:]
    lags = range(4_000)  # the encoder's padding
    assert max(correlation(decoded.samples[-24_000 - lag : -lag or None], end) for lag in lags) > 0.7


def test_joined_recordings_that_ffmpeg_cannot_follow_are_refused_not_cut():
    joined = file_bytes(SPEECH, 24_000, "OGG") + file_bytes(np.stack([SPEECH, SPEECH], axis=1), 24_000, "OGG")
    with pytest.raises(ReferenceInvalid, match="joins recordings of different kinds"):
        decode_audio(joined)


def test_id3_tags_before_mp3_and_flac_are_skipped():
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)
    for container in ("MP3", "FLAC"):
        tagged = tag + tag + file_bytes(SPEECH, 24_000, container)
        assert decode_audio(tagged).duration_s == pytest.approx(2.0, abs=0.001)


def test_long_mp3_is_decoded_without_seams():
    speech = speech_like(20.0)
    assert correlation(decode_audio(file_bytes(speech, 24_000, "MP3")).samples, speech) > 0.98


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\0\0\0 ftypM4A \0\0\0\0" + bytes(64), "damaged"),
        (b"\x1a\x45\xdf\xa3" + bytes(64), "damaged"),
        (b"\xff\xf1\x50\x80" + bytes(64), "damaged"),
        (file_bytes(SPEECH, 24_000, "VOC"), "format that is not supported"),
        (file_bytes(SPEECH, 24_000, "NIST"), "format that is not supported"),
        (file_bytes(SPEECH, 24_000, "PAF"), "format that is not supported"),
        (file_bytes(SPEECH, 24_000, "MAT5"), "unknown format"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00" * 100_000, "unknown format"),
        (file_bytes(SPEECH, 24_000, "WAV", "G721_32"), "encoding that is not supported (g726)"),
        ((SPEECH * 32767).astype("<i2").tobytes(), "unknown format"),
        (b"<html><body>404</body></html>", "unknown format"),
        (b"", "unknown format"),
    ],
)
def test_other_bytes_are_refused_with_the_reason_and_what_to_send_instead(data, says):
    with pytest.raises(ReferenceInvalid, match="send WAV, FLAC, OGG, Opus, MP3, M4A") as refusal:
        decode_audio(data, "preview_audio")
    assert refusal.value.field == "preview_audio"
    assert refusal.value.message.startswith("preview_audio ")
    assert says in refusal.value.reason


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_file_torn_off_in_its_header_is_refused_as_damaged(container):
    with pytest.raises(ReferenceInvalid, match="damaged"):
        decode_audio(file_bytes(SPEECH, 24_000, container)[:30])


def test_what_is_there_of_a_torn_flac_is_read():
    torn = decode_audio(file_bytes(SPEECH, 24_000, "FLAC")[:20_000])
    assert 0.2 < torn.duration_s < 1.9
    np.testing.assert_allclose(torn.samples, SPEECH[: len(torn.samples)], atol=1e-4)


def test_a_damaged_stretch_costs_no_more_than_itself():
    speech = speech_like(20.0)
    damaged = bytearray(file_bytes(speech, 24_000, "FLAC"))
    damaged[100_000:100_050] = bytes(50)
    assert 19.0 < decode_audio(bytes(damaged)).duration_s < 20.5


def test_a_refusal_shows_nothing_of_the_inside():
    with pytest.raises(ReferenceInvalid) as refusal:
        decode_audio(b"fLaC" + bytes(100))
    assert "0x" not in refusal.value.message
    assert "BytesIO" not in refusal.value.message
    assert "/" not in refusal.value.message


@pytest.mark.parametrize(
    ("samples", "sample_rate_hz", "says"),
    [
        (np.zeros((4_000, 9)), 24_000, "9 channels"),
        (np.zeros(8_000), 7_999, "7999 Hz"),
        (np.zeros(8_000), 2**31 - 1, "2147483647 Hz"),
        (np.zeros(0), 24_000, "no audio"),
        (np.zeros(8_000 * 120 + 1), 8_000, "longer than 120 s"),
        (np.array([0.0, np.nan]), 24_000, "not finite"),
        (np.full(5_000, np.nan), 24_000, "not finite"),
        (np.array([0.0, -np.inf]), 24_000, "not finite"),
        (np.full((100, 2), 3.4e38, dtype=np.float32), 24_000, "not finite"),
    ],
)
def test_limits_are_named(samples, sample_rate_hz, says):
    with pytest.raises(ReferenceInvalid, match=says):
        decode_audio(wav_bytes(samples, sample_rate_hz, "FLOAT"))


def test_exactly_120_s_is_accepted():
    assert decode_audio(wav_bytes(silence(120, 8_000), 8_000, "PCM_U8")).duration_s == 120.0


def test_a_long_recording_is_accepted_where_it_is_asked_for():
    ten_minutes = wav_bytes(silence(600, 8_000), 8_000, "PCM_U8")
    assert decode_audio(ten_minutes, "source_audio", None, LONG).duration_s == 600.0
    with pytest.raises(ReferenceInvalid, match=r"^source_audio is longer than 600 s; .* in several jobs$"):
        decode_audio(wav_bytes(silence(601, 8_000), 8_000, "PCM_U8"), "source_audio", None, LONG)


# Decodes standard input in a process that may grow by 512 MiB, and prints the refusal.
_DECODE_IN_512_MIB = """
import resource, sys
from audio.decode import decode_audio
from audio.limits import LONG, REFERENCE
from errors import ReferenceInvalid
data = sys.stdin.buffer.read()
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 512 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    limits = LONG if sys.argv[1:] == ["long"] else REFERENCE
    print(f"{decode_audio(data, 'audio', None, limits).duration_s:.0f} s")
except ReferenceInvalid as refusal:
    print(refusal.message)
"""


def decode_with_little_memory(data: bytes, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _DECODE_IN_512_MIB, *arguments],
        input=data,
        capture_output=True,
        cwd=PROJECT,
        env={"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@pytest.fixture(scope="module")
def flac_bomb() -> bytes:
    """0.8 GB of float32 in 400 kB: 9 minutes of stereo silence at 192 kHz."""
    buffer = io.BytesIO()
    block = np.zeros((2**20, 2), dtype=np.int16)
    with soundfile.SoundFile(buffer, "w", 192_000, 2, "PCM_16", format="FLAC") as file:
        for _ in range(100):
            file.write(block)
    assert len(buffer.getvalue()) < 500_000
    return buffer.getvalue()


def test_an_honest_flac_bomb_is_refused(flac_bomb):
    assert "longer than 120 s" in decode_with_little_memory(flac_bomb)


def test_what_is_long_enough_but_too_much_is_refused_within_the_same_memory(flac_bomb):
    assert "unpacks to more samples than are accepted" in decode_with_little_memory(flac_bomb, "long")


def test_ten_minutes_of_stereo_are_decoded_within_the_same_memory():
    recording = file_bytes(np.zeros((600 * 48_000, 2), np.int16), 48_000, "FLAC")
    assert decode_with_little_memory(recording, "long") == "600 s"


def test_a_flac_bomb_of_unknown_length_is_refused_within_bounded_memory(flac_bomb):
    assert "longer than 120 s" in decode_with_little_memory(with_total_samples(flac_bomb, 0))


def test_a_flac_bomb_that_claims_to_be_short_is_refused_by_what_it_is(flac_bomb):
    assert "longer than 120 s" in decode_with_little_memory(with_total_samples(flac_bomb, 192_000 * 5))


def test_an_ogg_bomb_is_refused():
    bomb = file_bytes(np.zeros(8_000 * 60 * 20, dtype=np.float32), 8_000, "OGG", "VORBIS")
    assert len(bomb) < 500_000  # for 38 MB of float32; it grows with the hours, memory must not
    assert "longer than 120 s" in decode_with_little_memory(bomb)


@settings(max_examples=30, deadline=None)
@given(
    container=st.sampled_from(["WAV", "FLAC", "OGG", "MP3"]),
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=20
    ),
)
def test_damaged_files_are_decoded_or_refused_but_never_surprise(container, flips):
    data = bytearray(DAMAGEABLE[container])
    for place, mask in flips:
        data[int(place * len(data))] ^= mask
    try:
        decoded = decode_audio(bytes(data))
    except ReferenceInvalid:
        return
    assert np.isfinite(decoded.samples).all()
    assert decoded.duration_s <= 120.0


DAMAGEABLE = {name: file_bytes(speech_like(0.3), 8_000, name) for name in ("WAV", "FLAC", "OGG", "MP3")}


def test_endings_of_file_names_are_lower_case_with_a_dot():
    assert {".wav", ".m4a", ".webm", ".aac", ".amr", ".3gp", ".mp4", ".oga"} <= RECORDING_SUFFIXES
    endings = {
        "wav": ".wav .rf64 .bwf",
        "w64": ".w64",
        "aiff": ".aif .aiff",
        "caf": ".caf",
        "au": ".au .snd",
        "flac": ".flac",
        "ogg": ".ogg .oga .opus .spx",
        "mp3": ".mp3 .mp2",
        "aac": ".aac",
        "mov": ".m4a .mp4 .mov .3gp",
        "matroska": ".webm .mka .mkv",
        "amr": ".amr .awb",
        "asf": ".wma .asf",
    }
    assert endings.keys() == set(CONTAINERS)
    assert {ending for several in endings.values() for ending in several.split()} <= RECORDING_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in RECORDING_SUFFIXES)
