"""Measures how sure the watermark's detector is: unmarked and marked recordings, and what happens to them.

    python -m benchmarks.watermark [RECORDING ...]

The recordings must be unmarked; by default they are those of the repository. Each row of the table has the
largest confidence for what is unmarked and the smallest for what is marked.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import av
import numpy as np

from audio.decode import decode_audio
from audio.encode import encode
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from cancel import CancelToken
from speech.watermark import Watermarker

REPOSITORY = Path(__file__).parent.parent
RECORDINGS = (
    *(
        REPOSITORY / "tests" / "speech_samples" / f"{name}.flac"
        for name in ("rms-ferry", "slt-bridge", "slt-ferry")
    ),
    REPOSITORY / "samples" / "reference.flac",
)


def through_mp3(waveform: Waveform, bit_rate: int) -> Waveform:
    """The waveform after an MP3 encoder and back."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=waveform.sample_rate_hz, layout="mono")
        stream.bit_rate = bit_rate
        pcm = (waveform.samples.clip(-1, 1) * 32_767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate = waveform.sample_rate_hz
        for part in (frame, None):
            container.mux(stream.encode(part))
    return decode_audio(file.getvalue())


def through_rate(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """The waveform at another rate and back."""
    return resample(resample(waveform, sample_rate_hz), MODEL_SAMPLE_RATE_HZ)


def with_noise(waveform: Waveform, snr_db: float) -> Waveform:
    """The waveform in white noise."""
    rms = np.sqrt(np.square(waveform.samples).mean()) * 10 ** (-snr_db / 20)
    noise = np.random.default_rng(0).standard_normal(len(waveform.samples), np.float32)
    return Waveform((waveform.samples + np.float32(rms) * noise).astype(np.float32), MODEL_SAMPLE_RATE_HZ)


def faster(waveform: Waveform, share: float) -> Waveform:
    """The waveform played faster, and so higher."""
    played = resample(waveform, round(MODEL_SAMPLE_RATE_HZ / (1 + share)))
    return Waveform(played.samples, MODEL_SAMPLE_RATE_HZ)


CHANGES: Mapping[str, Callable[[Waveform], Waveform]] = {
    "as it is": lambda one: one,
    "mp3, 64 kbit/s": lambda one: through_mp3(one, 64_000),
    "mp3, 32 kbit/s": lambda one: through_mp3(one, 32_000),
    "opus": lambda one: decode_audio(encode(one, "opus", MODEL_SAMPLE_RATE_HZ)),
    "at 44.1 kHz and back": lambda one: through_rate(one, 44_100),
    "at 16 kHz and back": lambda one: through_rate(one, 16_000),
    "at 8 kHz and back": lambda one: through_rate(one, 8_000),
    "12 dB softer": lambda one: Waveform(one.samples * np.float32(0.25), one.sample_rate_hz),
    "in noise, 30 dB below": lambda one: with_noise(one, 30.0),
    "in noise, 20 dB below": lambda one: with_noise(one, 20.0),
    "played 2 % faster": lambda one: faster(one, 0.02),
    "played 10 % faster": lambda one: faster(one, 0.10),
}


def seconds_of(waveform: Waveform, duration_s: float) -> Iterator[Waveform]:
    """Stretches of the waveform, one after the other."""
    count = round(duration_s * waveform.sample_rate_hz)
    for start in range(0, len(waveform.samples) - count + 1, count):
        yield Waveform(waveform.samples[start : start + count].copy(), waveform.sample_rate_hz)


def main(arguments: list[str]) -> None:
    watermarker = Watermarker()
    clean = [decode_audio(Path(name).read_bytes()) for name in arguments or RECORDINGS]
    marked = [
        Waveform(watermarker.mark(one.samples, one.sample_rate_hz), one.sample_rate_hz) for one in clean
    ]
    rows = {name: ([*map(change, clean)], [*map(change, marked)]) for name, change in CHANGES.items()}
    for duration_s in (0.5, 1.0, 3.0):
        rows[f"{duration_s:g} s of it"] = (
            [part for one in clean for part in seconds_of(one, duration_s)],
            [part for one in marked for part in seconds_of(one, duration_s)],
        )
    print("| | recordings | unmarked, at most | marked, at least |\n|---|---|---|---|")
    for name, sides in rows.items():
        unmarked, found = ([watermarker.detect(one, CancelToken()) for one in side] for side in sides)
        print(f"| {name} | {len(found)} | {max(unmarked):.3f} | {min(found):.3f} |")


if __name__ == "__main__":
    main(sys.argv[1:])
