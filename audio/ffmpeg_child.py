"""What a process does that decodes one recording with FFmpeg, shielded from everything around it.

``ffmpeg_server`` forks it, with the recording as standard input and the file for the samples as standard
output; both are files in memory. The recording is read whole, then the process enters its sandbox, and only
then are the recording's bytes looked at. The output receives a report of at most ``REPORT_BYTES``, one JSON
object padded with zeros, and from there on float32 samples with the channels interleaved. The report has
either ``segments``, a list of [sample rate in Hz, channels, frames], in the order of the samples; or
``refused``, one of the names in ``audio.ffmpeg`` with its ``detail``. ``unprotected`` lists what the kernel
refused of the sandbox. Without a report, or with another exit status than 0, the recording cannot be decoded.
"""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import av
import av.error

from audio.limits import (
    LIMITS_BY_REQUEST,
    MAX_CHANNELS,
    MAX_SAMPLE_RATE_HZ,
    MAX_SEGMENTS,
    MIN_SAMPLE_RATE_HZ,
    REFERENCE,
    REPORT_BYTES,
    RecordingLimits,
)
from audio.sandbox import enter_sandbox

MEMORY_BYTES = 256 * 2**20
# Durations of packets add up with rounding: what ends at the limit by that alone would look short enough.
SURPLUS_S = 0.1

# FFmpeg's names of what phones, browsers, recorders and editors write. It has hundreds more.
CONTAINERS = ("wav", "w64", "aiff", "caf", "au", "flac", "ogg", "mp3", "aac", "mov", "matroska", "amr", "asf")
CODECS = frozenset(
    (
        *("aac", "alac", "flac", "mp2", "mp2float", "mp3", "mp3float", "opus", "vorbis", "speex"),
        *("ac3", "eac3", "amrnb", "amrwb", "wmav1", "wmav2", "wmapro", "wmalossless", "wmavoice"),
        *("adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "gsm", "gsm_ms", "pcm_mulaw", "pcm_alaw"),
        *("pcm_s8", "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
        *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
    )
)
OPTIONS = {
    "protocol_whitelist": "none",
    "format_whitelist": ",".join(CONTAINERS),
    # While it opens a file FFmpeg decodes a little of every stream that it has a decoder for, pictures too.
    "codec_whitelist": ",".join(sorted(CODECS)),
}


class RefusedError(Exception):
    """The recording is not accepted, for the reason that the report names."""

    def __init__(self, name: str, detail: str | int = "") -> None:
        super().__init__(name)
        self.name = name
        self.detail = detail


def load_everything() -> None:
    """Decodes a sound and something that is none.

    Python and the libraries load parts of themselves at their first use, which needs files.
    """
    wav = io.BytesIO()
    with wave.open(wav, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(1_600))
    decode(wav.getvalue(), io.BytesIO())
    try:
        decode(b"RIFF", io.BytesIO())
    except RefusedError as refusal:
        json.dumps({"refused": refusal.name})


def decode(recording: bytes, out: Any, limits: RecordingLimits = REFERENCE) -> list[list[int]]:
    """Writes the recording's samples to ``out``; returns the report's segments.

    out: a binary file. Decoding ends soon after ``max_duration_s``, which the segments then show.
    Raises RefusedError.
    """
    try:
        with av.open(io.BytesIO(recording), "r", options=OPTIONS, metadata_errors="ignore") as container:
            return _decode_stream(container, _choose_stream(container), out, limits)
    except av.error.ArgumentError:  # how FFmpeg refuses a container that is not on the list
        raise RefusedError("container") from None
    except av.error.PatchWelcomeError:
        raise RefusedError("variant") from None
    except (MemoryError, av.error.MemoryError):
        raise RefusedError("memory") from None
    except av.error.FFmpegError:
        raise RefusedError("unreadable") from None


def _choose_stream(container: Any) -> Any:
    """The first audio stream with an accepted codec. Phones add a second one in a codec of their own."""
    streams = container.streams.audio
    if not streams:
        raise RefusedError("no_audio")
    for stream in streams:
        if stream.codec_context is not None and stream.codec_context.name in CODECS:
            return stream
    first = streams[0].codec_context
    raise RefusedError("codec", first.name if first is not None else "unknown")


def _decode_stream(container: Any, stream: Any, out: Any, limits: RecordingLimits) -> list[list[int]]:
    """Decodes as players do: damaged packets are left out, and changes of the format are followed."""
    stream.codec_context.thread_count = 1
    writer = _SegmentWriter(out, limits.max_samples_bytes)
    intact = damaged = 0
    for packet in _read_packets(container, stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            damaged += packet.size > 0
            continue
        intact += packet.size > 0
        for frame in frames:
            writer.write(frame)
        if writer.duration_s > limits.max_duration_s + SURPLUS_S:
            break
    writer.finish()
    if damaged > intact:
        raise RefusedError("damaged")
    return writer.segments


def _read_packets(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets. A container that is torn off in the middle ends there."""
    packets = container.demux(stream)
    first = next(packets, None)
    if first is None:
        return
    yield first
    with suppress(av.error.InvalidDataError):
        yield from packets


class _SegmentWriter:
    """Writes frames as interleaved float32, and keeps count of runs of one rate and channel count."""

    def __init__(self, out: Any, max_bytes: int) -> None:
        self.segments: list[list[int]] = []
        self.duration_s = 0.0
        self._out = out
        self._bytes, self._max_bytes = 0, max_bytes
        self._format: tuple[int, str, str] | None = None
        self._resampler: Any = None  # changes the sample format alone

    def write(self, frame: Any) -> None:
        frame_format = (frame.sample_rate, frame.layout.name, frame.format.name)
        if frame_format != self._format:
            self.finish()
            self._begin(frame)
            self._format = frame_format
        for part in self._resampler.resample(frame):
            self._write_samples(part)

    def finish(self) -> None:
        if self._resampler is not None:
            for part in self._resampler.resample(None):
                self._write_samples(part)
        self._resampler = None

    def _begin(self, frame: Any) -> None:
        rate_hz, channels = frame.sample_rate, frame.layout.nb_channels
        if not 1 <= channels <= MAX_CHANNELS:
            raise RefusedError("channels", channels)
        if not MIN_SAMPLE_RATE_HZ <= rate_hz <= MAX_SAMPLE_RATE_HZ:
            raise RefusedError("sample_rate", rate_hz)
        if len(self.segments) == MAX_SEGMENTS:
            raise RefusedError("changes", MAX_SEGMENTS)
        if not self.segments or self.segments[-1][:2] != [rate_hz, channels]:
            self.segments.append([rate_hz, channels, 0])
        self._resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=rate_hz)

    def _write_samples(self, frame: Any) -> None:
        rate_hz, channels, _ = segment = self.segments[-1]
        size = frame.samples * channels * 4
        self._bytes += size
        if self._bytes > self._max_bytes:
            raise RefusedError("too_much")
        self._out.write(memoryview(frame.planes[0])[:size])
        segment[2] += frame.samples
        self.duration_s += frame.samples / rate_hz


def main(request: bytes) -> None:
    """Decodes standard input to standard output. ``load_everything`` must have run.

    request: names the limits, see ``LIMITS_BY_REQUEST``.
    """
    limits = LIMITS_BY_REQUEST[request]
    with open(0, "rb", closefd=False) as file:
        recording = file.read()
    out = open(1, "wb", buffering=2**18, closefd=False)  # noqa: SIM115, stays open until the end
    report: dict[str, object] = {
        "unprotected": enter_sandbox(
            cpu_s=limits.cpu_s,
            memory_bytes=MEMORY_BYTES,
            file_bytes=REPORT_BYTES + limits.max_samples_bytes,
        )
    }
    out.seek(REPORT_BYTES)
    try:
        report["segments"] = decode(recording, out, limits)
    except RefusedError as refusal:
        report |= {"refused": refusal.name, "detail": refusal.detail}
    out.flush()
    out.seek(0)
    out.write(json.dumps(report).encode())
    out.flush()
