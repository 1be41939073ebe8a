"""What phones and browsers record, and what is made to hurt whoever decodes it."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from audio import ffmpeg, ffmpeg_child, ffmpeg_server
from audio.decode import decode_audio, decode_base64
from cancel import CancelToken
from errors import Cancelled, Internal, ReferenceInvalid
from tests.job_server import REPOSITORY
from tests.recordings import file_bytes, speech_like, wav_bytes

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
    ("mp2", "mp2", "mp2", 44_100, "mono"),
    ("alac in caf", "caf", "alac", 48_000, "mono"),
    ("ac3 in mp4", "mp4", "ac3", 48_000, "stereo"),
    ("matroska", "matroska", "pcm_s16le", 48_000, "mono"),
    ("wma", "asf", "wmav2", 44_100, "stereo"),
]


def encode(
    container: str,
    codec: str,
    rate_hz: int,
    layout: str = "mono",
    samples: np.ndarray | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """The file, made by FFmpeg. samples: float32 at 48 kHz. options: of the container."""
    samples = speech_like(6.0, RATE, 1) if samples is None else samples
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=rate_hz)
        stream.layout = layout
        stream.bit_rate = 128_000
        for part in to_frames(samples, stream, layout, rate_hz):
            file.mux(list(stream.encode(part)))
        file.mux(list(stream.encode(None)))
    return target.getvalue()


def to_frames(samples: np.ndarray, stream: Any, layout: str, rate_hz: int) -> list[Any]:
    """Frames for the encoder of the stream. samples: float32 at 48 kHz."""
    whole = (samples.clip(-1, 1) * 32_767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
    frame.rate = RATE
    encoder = stream.codec_context
    resampler = av.AudioResampler(encoder.format.name, layout, rate_hz)
    return [*resampler.resample(frame), *resampler.resample(None)]


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
    assert max(np.corrcoef(heard[lag : lag + 95], recorded[1:96])[0, 1] for lag in range(5)) > 0.8


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
        "from audio import ffmpeg\n"
        "from audio.decode import decode_audio\n"
        "from errors import ReferenceInvalid\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "try:\n    decode_audio(data)\n"
        "except ReferenceInvalid as error:\n    print('refused')\n"
        "ffmpeg._decoder.stop()\n"
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


def test_a_vorbis_header_that_claims_millions_of_entries_ends_nothing_but_its_child():
    """libvorbis takes room on the stack for each; a header of 240 bytes can ask for 2**24."""
    whole = bytearray(file_bytes(speech_like(1.0), 24_000, "OGG", "VORBIS"))
    book = whole.index(b"BCV") + 5
    whole[book : book + 3] = b"\xff\xff\xff"
    with pytest.raises(ReferenceInvalid):
        decode_audio(bytes(whole))


@pytest.mark.parametrize(
    ("container", "picture", "sound"),
    [
        ("webm", "libvpx", "libopus"),
        ("mp4", "libx264", "aac"),
        ("mov", "mjpeg", "aac"),
        ("mp4", "mpeg4", "aac"),
    ],
)
def test_sound_beside_a_picture_is_heard_and_no_decoder_of_pictures_runs(container, picture, sound):
    film = encode_film(container, picture, sound)
    assert decode_audio(film).duration_s == pytest.approx(3.0, abs=0.1)
    assert "pix_fmt" in looked_at({}, film)  # which only a decoder finds out
    assert "pix_fmt" not in looked_at(ffmpeg_child.OPTIONS, film)


def test_a_cover_picture_is_passed_over():
    cover = io.BytesIO()
    with av.open(cover, "w", format="mjpeg") as file:
        stream = file.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        file.mux(list(stream.encode(av.VideoFrame(64, 64, "yuvj420p"))))
        file.mux(list(stream.encode(None)))
    body = b"\0image/jpeg\0\x03\0" + cover.getvalue()
    frame = b"APIC" + struct.pack(">IH", len(body), 0) + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    tagged = b"ID3\x03\0\0" + size + frame + file_bytes(speech_like(2.0), 24_000, "MP3")
    assert len(av.open(io.BytesIO(tagged)).streams.video) == 1
    assert decode_audio(tagged).duration_s == pytest.approx(2.0, abs=0.1)


def looked_at(options: dict[str, str], film: bytes) -> set[str]:
    """What FFmpeg knows of the picture once the film is open with these options."""
    with av.open(io.BytesIO(film), "r", options=options) as file:
        return {"pix_fmt"} if file.streams.video[0].codec_context.pix_fmt else set()


def encode_film(container: str, picture: str, sound: str) -> bytes:
    """3 s of speech at 48 kHz beside three frames."""
    target = io.BytesIO()
    with av.open(target, "w", format=container) as file:
        video = file.add_stream(picture, rate=25)
        video.width = video.height = 64
        video.pix_fmt = "yuvj420p" if picture == "mjpeg" else "yuv420p"
        audio = file.add_stream(sound, rate=RATE)
        audio.layout = "mono"
        for _ in range(3):
            file.mux(list(video.encode(av.VideoFrame(64, 64, "yuv420p"))))
        file.mux(list(video.encode(None)))
        for part in to_frames(speech_like(3.0, RATE, 1), audio, "mono", RATE):
            file.mux(list(audio.encode(part)))
        file.mux(list(audio.encode(None)))
    return target.getvalue()


def test_a_browsers_recording_without_length_is_read_from_a_data_url():
    live = encode("webm", "libopus", RATE, options={"live": "1"})
    url = "data:video/webm;codecs=vp8,opus;base64," + base64.b64encode(live).decode()
    assert decode_audio(decode_base64(url, "reference_audio")).duration_s == pytest.approx(6.0, abs=0.1)


def test_aac_that_turns_from_mono_to_stereo_is_read_whole():
    first = encode("adts", "aac", 44_100, "mono")
    second = encode("adts", "aac", 44_100, "stereo")
    whole = decode_audio(first + second)
    assert whole.duration_s == pytest.approx(12.0, abs=0.3)
    assert np.abs(whole.samples[-24_000 * 3 :]).max() > 0.1


def test_surround_sound_is_heard():
    decoded = decode_audio(encode("mp4", "aac", 48_000, "5.1"))
    assert decoded.duration_s == pytest.approx(6.0, abs=0.15)
    assert np.abs(decoded.samples).max() > 0.02


class TakenOver:
    """A child that writes something else than its report, as one would that the recording took over."""

    def __init__(self, monkeypatch, tmp_path, program: str) -> None:
        path = tmp_path / "server.py"
        path.write_text(
            f"import os, socket, sys\nsys.path.append({str(REPOSITORY)!r})\n"
            "from audio.ffmpeg_server import DecoderServer\n"
            f"program = {program!r}\n"
            "DecoderServer(socket.socket(fileno=os.dup(0)), lambda _: exec(program, globals())).serve()\n"
        )
        monkeypatch.setattr(ffmpeg, "_SERVER", path)
        monkeypatch.setattr(ffmpeg, "_decoder", ffmpeg._Decoder())


REPORTS = {
    "nothing": "",
    "no JSON": "os.write(1, b'{')",
    "deep JSON": "os.write(1, b'[' * 60_000)",
    "another kind": "os.write(1, b'[]')",
    "no segments": "os.write(1, b'{}')",
    "samples that are not there": "os.write(1, b'{\"segments\": [[24000, 1, 1000]]}')",
    "a rate of 0": "os.write(1, b'{\"segments\": [[0, 1, 1000]]}')",
    "truth as a number": "os.write(1, b'{\"segments\": [[24000, true, 1000]]}')",
    "negative": "os.write(1, b'{\"segments\": [[24000, 1, -5]]}')",
    "an hour": "os.ftruncate(1, 2**20); os.write(1, b'{\"segments\": [[8000, 1, 28800000]]}')",
    "a reason of its own": 'os.write(1, b\'{"refused": "codec\\\\n", "detail": "x"}\')',
    "a list for a reason": "os.write(1, b'{\"refused\": []}')",
    "a protection that is none": 'os.write(1, b\'{"unprotected": [[]], "segments": []}\')',
    "an exit status": "os.write(1, b'{\"segments\": []}'); sys.exit(3)",
    "a crash": "os.kill(os.getpid(), 11)",
}


@pytest.mark.parametrize("program", REPORTS.values(), ids=REPORTS)
def test_whatever_the_child_says_the_recording_is_refused(program, monkeypatch, tmp_path):
    TakenOver(monkeypatch, tmp_path, program)
    with pytest.raises(ReferenceInvalid, match="cannot be decoded") as refusal:
        decode_audio(b"any")
    names_the_field(refusal.value)


def test_a_codec_that_the_child_names_is_shown_only_as_a_name(monkeypatch, tmp_path):
    TakenOver(monkeypatch, tmp_path, 'os.write(1, b\'{"refused": "codec", "detail": "a\\\\nb<c>"}\')')
    with pytest.raises(ReferenceInvalid, match="not supported \\(unknown\\)"):
        decode_audio(b"any")


def test_a_child_that_works_for_too_long_is_refused_as_that(monkeypatch, tmp_path):
    TakenOver(monkeypatch, tmp_path, "import signal; os.kill(os.getpid(), signal.SIGXCPU)")
    with pytest.raises(ReferenceInvalid, match="takes too long to decode"):
        decode_audio(b"any")


def test_what_the_kernel_refuses_of_the_sandbox_is_logged_once(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(ffmpeg, "_logged_gaps", set())
    gap = "the filter of system calls (EINVAL)"
    report = json.dumps({"unprotected": [gap], "refused": "no_audio", "detail": ""})
    TakenOver(monkeypatch, tmp_path, f"os.write(1, {report.encode()!r})")
    for _ in range(2):
        with pytest.raises(ReferenceInvalid, match="holds no audio"):
            decode_audio(b"any")
    assert [record.getMessage() for record in caplog.records if gap in record.getMessage()] == [
        f"recordings are decoded without {gap}: the kernel refused this part of the sandbox"
    ]


def test_zeros_are_refused_without_a_process(monkeypatch):
    monkeypatch.setattr(ffmpeg, "_decoder", None)
    with pytest.raises(ReferenceInvalid, match="not audio that can be read"):
        decode_audio(bytes(4_000_000))


def test_a_server_that_was_killed_is_replaced():
    recording = wav_bytes(speech_like(1.0), 24_000)
    assert decode_audio(recording).duration_s == 1.0
    server = ffmpeg._decoder.start()
    server.process.kill()
    server.process.wait()
    assert decode_audio(recording).duration_s == 1.0


def test_a_server_that_is_killed_while_it_decodes_costs_no_recording():
    """With the process that decodes: a second one gets files of its own."""
    recording = wav_bytes(speech_like(20.0), 24_000)
    expected = decode_audio(recording).samples
    with ThreadPoolExecutor(1) as threads:
        for _ in range(5):
            job = threads.submit(decode_audio, recording)
            while not children_of(ffmpeg._decoder.start().process.pid) and not job.done():
                pass
            ffmpeg._decoder.start().process.kill()
            np.testing.assert_array_equal(job.result().samples, expected)


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []


def test_a_server_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(ffmpeg, "WALL_S", 0.2)
    recording = wav_bytes(speech_like(1.0), 24_000)
    monkeypatch.setattr(ffmpeg, "_decoder", ffmpeg._Decoder())
    hanging = ffmpeg._decoder.start()
    hanging.process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(ffmpeg._decoder, "_give_up", restoring(ffmpeg._decoder._give_up, monkeypatch))
    assert decode_audio(recording).duration_s == 1.0
    assert hanging.process.wait() == -signal.SIGKILL


def restoring(give_up, monkeypatch):
    """Waits as long as usual again once the server that hangs was given up."""

    def call(server) -> None:
        monkeypatch.setattr(ffmpeg, "WALL_S", 20)
        give_up(server)

    return call


def test_a_caller_that_leaves_as_its_process_ends_harms_nobody(monkeypatch, tmp_path):
    """The server hears of both at once, in any order."""
    TakenOver(monkeypatch, tmp_path, "os._exit(0)")
    server = ffmpeg._decoder.start()
    for _ in range(300):
        control, servers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with control, servers_end, tempfile.TemporaryFile() as file:
            socket.send_fds(server.requests, [b"."], [file.fileno(), file.fileno(), servers_end.fileno()])
            assert control.recv(1) == ffmpeg_server.FORKED
    with pytest.raises(ReferenceInvalid):
        decode_audio(b"any")
    assert ffmpeg._decoder.start() is server


def test_a_request_without_room_for_its_files_ends_no_server(monkeypatch, tmp_path):
    TakenOver(monkeypatch, tmp_path, "os._exit(0)")
    server = ffmpeg._decoder.start()
    control, servers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with control, servers_end:
        socket.send_fds(server.requests, [b"."], [servers_end.fileno()])
    with control:
        pass
    with pytest.raises(ReferenceInvalid):
        decode_audio(b"any")
    assert ffmpeg._decoder.start() is server


def test_a_machine_that_cannot_decode_blames_itself(monkeypatch, tmp_path, caplog):
    """As where PyAV is missing: the server ends before it has forked anything."""
    server = tmp_path / "server.py"
    server.write_text("raise ImportError")
    monkeypatch.setattr(ffmpeg, "_SERVER", server)
    monkeypatch.setattr(ffmpeg, "_decoder", ffmpeg._Decoder())
    with pytest.raises(Internal, match="cannot be decoded by this worker"):
        decode_audio(wav_bytes(speech_like(1.0), 24_000))
    assert "the process that forks decoders does not answer" in caplog.text


def test_after_a_crash_the_next_recording_gets_another_server(monkeypatch, tmp_path):
    TakenOver(monkeypatch, tmp_path, "os.kill(os.getpid(), 11)")
    servers = set()
    for _ in range(2):
        with pytest.raises(ReferenceInvalid):
            decode_audio(b"any")
        servers.add(ffmpeg._decoder.start().process.pid)
    assert len(servers) == 2


def test_recordings_at_once_share_a_server_and_do_not_mix():
    server = ffmpeg._decoder.start()
    lengths_s = [1.0 + 0.25 * index for index in range(6)]
    with ThreadPoolExecutor(6) as threads:
        decoded = threads.map(decode_audio, [wav_bytes(speech_like(length), 24_000) for length in lengths_s])
        assert [waveform.duration_s for waveform in decoded] == lengths_s
    assert ffmpeg._decoder.start() is server


def test_a_cancelled_job_leaves_its_decoder_at_once_and_the_process_is_killed(monkeypatch, tmp_path):
    began = tmp_path / "began"
    os.mkfifo(began)
    program = f"print(os.getpid(), file=open({str(began)!r}, 'w'), flush=True); __import__('time').sleep(600)"
    TakenOver(monkeypatch, tmp_path, program)
    cancel = CancelToken()
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(decode_audio, b"any", "reference_audio", cancel)
        pid = int(began.read_text())
        cancel.cancel(Cancelled("the test"))
        with pytest.raises(Cancelled):
            job.result()
    ffmpeg._decoder.stop()  # returns when the last of its processes has ended
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_child_has_no_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", "secret")
    TakenOver(
        monkeypatch,
        tmp_path,
        "left = set(os.environ) - {'LC_CTYPE'}\n"  # which Python sets itself
        "os.write(1, b'{\"refused\": \"%s\"}' % (b'variant' if left else b'no_audio'))",
    )
    with pytest.raises(ReferenceInvalid, match="holds no audio"):
        decode_audio(b"any")


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


def test_a_job_that_is_cancelled_waits_for_no_decoder():
    cancel = CancelToken()
    cancel.cancel(Cancelled("the test"))
    with pytest.raises(Cancelled):
        decode_audio(wav_bytes(speech_like(1.0), 24_000), "reference_audio", cancel)
