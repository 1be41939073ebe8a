"""A program that decodes one recording with FFmpeg, within limits that end it rather than its caller.

    python -I ffmpeg_child.py FORMAT < recording > samples

FFmpeg reads formats made for trust. So this runs apart, on bytes from its standard input, without the
rights to open or write a file, with little memory and little time. It writes a line of JSON, {"sample_rate",
"channels"} or {"refused": reason}, and then float32 samples, channels interleaved. Anything else, or
another exit status than 0, means that the recording cannot be decoded.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import wave

import av

CPU_S = 2
MEMORY_BYTES = 256 * 2**20
MAX_DURATION_S, MAX_CHANNELS, MIN_RATE_HZ, MAX_RATE_HZ = 120, 2, 8_000, 96_000
CODECS = frozenset({"aac", "alac", "opus", "vorbis", "mp3", "mp3float", "amrnb", "amrwb", "flac"})
PREFIXES = ("pcm_",)


def load_everything() -> None:
    """The libraries load parts of themselves when they are first used, which they cannot do without files."""
    wav = io.BytesIO()
    with wave.open(wav, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(1600))
    with av.open(io.BytesIO(wav.getvalue()), "r", format="wav") as container:
        for frame in container.decode(audio=0):
            av.AudioResampler(format="flt", layout="mono", rate=8_000).resample(frame)


def limit_this_process() -> None:
    """From here on."""
    limits = {
        resource.RLIMIT_CPU: CPU_S,
        resource.RLIMIT_DATA: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 3,
    }
    for which, most in limits.items():
        resource.setrlimit(which, (most, most))


def decode(data: bytes, container_format: str) -> None:
    out = sys.stdout.buffer
    no_protocols = {"protocol_whitelist": "none"}
    with av.open(
        io.BytesIO(data), "r", format=container_format, options=no_protocols, metadata_errors="ignore"
    ) as file:
        if not file.streams.audio:
            return refuse("holds no audio: send a recording of 5 to 30 s of speech")
        stream = file.streams.audio[0]
        codec = stream.codec_context
        name = codec.name
        if name not in CODECS and not name.startswith(PREFIXES):
            return refuse("has an encoding that is not supported: send AAC, Opus, MP3 or WAV")
        codec.thread_count = 1
        rate_hz, channels = 0, 0
        written = 0
        resampler = None
        for frame in file.decode(stream):
            if resampler is None:
                rate_hz, channels = frame.sample_rate, len(frame.layout.channels)
                if channels > MAX_CHANNELS:
                    return refuse(f"has {channels} channels: send mono or stereo")
                if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
                    return refuse(
                        f"has a sample rate of {rate_hz} Hz: send {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
                    )
                resampler = av.AudioResampler(format="flt", layout=frame.layout.name, rate=rate_hz)
                out.write(json.dumps({"sample_rate": rate_hz, "channels": channels}).encode() + b"\n")
            for part in resampler.resample(frame):
                size = part.samples * channels * 4
                out.write(memoryview(part.planes[0])[:size])
                written += part.samples
            if written > MAX_DURATION_S * rate_hz:
                break  # the caller sees that it is too long
        if resampler is None:
            return refuse("holds no audio: send a recording of 5 to 30 s of speech")
    out.flush()
    return None


def refuse(reason: str) -> None:
    sys.stdout.buffer.write(json.dumps({"refused": reason}).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    recording = sys.stdin.buffer.read()
    load_everything()
    limit_this_process()
    decode(recording, sys.argv[1])
