"""What phones and browsers record, and what is made to hurt whoever decodes it."""

from __future__ import annotations

import functools
import io
import struct
import subprocess
import sys

import av
import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.decode import decode_audio
from errors import ReferenceInvalid
from tests.job_server import REPOSITORY
from tests.recordings import speech_like

RATE = 48_000
KINDS = [
    ("m4a", "ipod", "aac", 44_100, "mono"),
    ("m4a in stereo", "ipod", "aac", 48_000, "stereo"),
    ("alac", "ipod", "alac", 48_000, "mono"),
    ("mp4", "mp4", "aac", 48_000, "mono"),
    ("3gp", "3gp", "aac", 16_000, "mono"),
    ("webm", "webm", "libopus", 48_000, "mono"),
    ("aac", "adts", "aac", 44_100, "mono"),
    ("amr", "amr", "libopencore_amrnb", 8_000, "mono"),
]


def encode(container: str, codec: str, rate_hz: int, layout: str = "mono", samples: np.ndarray | None = None):
    """The file, made by FFmpeg. samples: float32 at 48 kHz."""
    samples = speech_like(6.0, RATE, 1) if samples is None else samples
    whole = (samples.clip(-1, 1) * 32_767).astype(np.int16)[None]
    target = io.BytesIO()
    with av.open(target, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate_hz)
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.rate = RATE
        resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate_hz)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            file.mux(list(stream.encode(part)))
        file.mux(list(stream.encode(None)))
    return target.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "rate_hz", "layout"), [kind[1:] for kind in KINDS], ids=[kind[0] for kind in KINDS]
)
def test_a_recording_of_a_phone_or_a_browser_is_read(container, codec, rate_hz, layout):
    found = decode_audio(encode(container, codec, rate_hz, layout))
    expected = soxr.resample(speech_like(6.0, RATE, 1), RATE, 24_000)
    assert found.sample_rate_hz == 24_000
    assert found.duration_s == pytest.approx(6.0, abs=0.15)
    # The same sound: its loudness over time is that of what was recorded, but for an encoder's delay.
    heard, recorded = (loudness(samples) for samples in (found.samples, expected))
    assert max(np.corrcoef(heard[lag : lag + 95], recorded[:95])[0, 1] for lag in range(4)) > 0.8


def loudness(samples: np.ndarray) -> np.ndarray:
    """Of each 50 ms at 24 kHz, for 5 s."""
    return np.sqrt(np.square(samples[: 24_000 * 5].reshape(-1, 1_200)).mean(axis=1))


def names_the_field(error: ReferenceInvalid) -> None:
    assert error.message.startswith("reference_audio")


def test_what_is_too_long_is_said_though_it_is_small():
    bomb = encode("ipod", "aac", 8_000, samples=np.zeros(RATE * 130, np.float32))
    assert len(bomb) < 100_000
    with pytest.raises(ReferenceInvalid, match="longer than 120 s"):
        decode_audio(bomb)


def test_six_channels_are_named():
    with pytest.raises(ReferenceInvalid, match="6 channels"):
        decode_audio(encode("mp4", "aac", 48_000, "5.1"))


def test_a_film_without_sound_is_named():
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for _ in range(3):
            file.mux(list(stream.encode(av.VideoFrame(64, 64, "yuv420p"))))
        file.mux(list(stream.encode(None)))
    with pytest.raises(ReferenceInvalid, match="holds no audio"):
        decode_audio(target.getvalue())


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind[0] in ("m4a", "webm", "aac", "amr")], ids=lambda kind: kind[0]
)
@pytest.mark.parametrize("kept", [0.01, 0.3, 0.9])
def test_a_torn_file_is_refused_or_read_as_far_as_it_goes(kind, kept):
    whole = encode(*kind[1:])
    try:
        assert decode_audio(whole[: int(len(whole) * kept)]).duration_s < 6.2
    except ReferenceInvalid as error:
        names_the_field(error)


def atom(name: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I", len(body) + 8 if size is None else size) + name + body


FTYP = atom(b"ftyp", b"M4A \0\0\0\0M4A ")
BOMBS = {
    "an atom of 4 GB": FTYP + atom(b"moov", size=2**32 - 1),
    "atoms within atoms": FTYP + b"".join(struct.pack(">I", 2**20) + b"moov" for _ in range(100_000)),
    "five million atoms": FTYP + atom(b"free") * 2_500_000,
    "a table of 2**31 entries": FTYP
    + atom(
        b"moov",
        atom(
            b"trak",
            atom(b"mdia", atom(b"minf", atom(b"stbl", atom(b"stsz", struct.pack(">III", 0, 0, 2**31 - 1))))),
        ),
    ),
    "an ebml element of 2**56": b"\x1aE\xdf\xa3\x01" + b"\xff" * 7 + b"\x18S\x80g\x01" + b"\xff" * 7,
    "endless small ebml": b"\x1aE\xdf\xa3\x80" + b"\xec\x80" * 3_000_000,
    "amr without end": b"#!AMR\n" + b"\x3c" * 20_000_000,
    "adts without sound": (b"\xff\xf1\x50\x80\x01\x1f\xfc" + bytes(2)) * 1_000_000,
    "an address outside": FTYP
    + atom(
        b"moov",
        atom(b"rmra", atom(b"rmda", atom(b"rdrf", b"\0" * 4 + b"url \0\0\0\x13file:///etc/passwd\0"))),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_its_limits(name, tmp_path):
    """In a process of its own, so that its memory and its children's can be asked for."""
    (tmp_path / "bomb").write_bytes(BOMBS[name])
    program = (
        "import resource, sys\n"
        "from audio.decode import decode_audio\n"
        "from errors import ReferenceInvalid\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "try:\n    decode_audio(data)\n"
        "except ReferenceInvalid as error:\n    print('refused')\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_maxrss // 1024, used.ru_utime + used.ru_stime)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "bomb")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    outcome, used = finished.stdout.splitlines()
    assert outcome == "refused", finished.stdout
    megabytes, cpu_s = used.split()
    assert int(megabytes) < 300
    assert float(cpu_s) < 3  # of a limit, not of a machine: the kernel ends the child after 2 s of work


def test_the_child_can_neither_open_nor_write_a_file(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import ffmpeg_child as child\n"
        "child.load_everything(); child.limit_this_process()\n"
        "for mode in ('rb', 'wb'):\n"
        "    try:\n        open(sys.argv[2], mode); print('opened')\n"
        "    except OSError:\n        print('refused')\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, str(REPOSITORY / "audio"), str(tmp_path / "file")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.split() == ["refused", "refused"]


@settings(max_examples=40, deadline=None)
@given(
    head=st.sampled_from([FTYP, b"\x1aE\xdf\xa3", b"#!AMR\n", b"#!AMR-WB\n", b"\xff\xf1\x50\x80"]),
    rest=st.binary(max_size=4_000),
)
def test_made_up_bytes_are_refused_or_read_and_nothing_else(head, rest):
    try:
        decode_audio(head + rest)
    except ReferenceInvalid as error:
        names_the_field(error)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_good_file_with_some_bytes_changed_is_refused_or_read(data):
    spoiled = bytearray(_a_good_file())
    for _ in range(data.draw(st.integers(1, 20))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_audio(bytes(spoiled))
    except ReferenceInvalid as error:
        names_the_field(error)


@functools.cache
def _a_good_file() -> bytes:
    return encode("ipod", "aac", 16_000, samples=speech_like(1.0, RATE, 1))
