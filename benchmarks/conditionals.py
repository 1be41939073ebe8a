"""What a reference costs a job: a new voice, a known one, a stored one in a worker that just started.

    python -m benchmarks.conditionals [--checkpoint DIR] [--device cpu|cuda] [--runs 5] [--json FILE]

Ours is what a tts job spends on its voice: finding it in the store, and its conditionals. Upstream's is
``prepare_conditionals`` with a WAV file, which it calls for every job that names one. A recording of 11.5 s.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import soundfile
import torch

from audio.decode import decode_audio
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from benchmarks.machine import describe, keep
from benchmarks.weights import temporary_weights
from cancel import CancelToken
from operations.conditionals import VoiceConditionals
from operations.reference import stored_reference
from speech.pipeline import load_synthesizer
from voice_store import VoiceStore

SAMPLE = Path("samples/reference.flac")
MAX_DURATION_S = 30.0
KNOWN_RUNS = 200


def time_ms(work: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    work(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - started)


def use(conditionals: VoiceConditionals, voices: VoiceStore, name: str) -> None:
    conditionals.get(stored_reference(voices.get(name=name), MAX_DURATION_S), CancelToken())


def ours(
    checkpoint: Path, device: str, folder: Path, recordings: list[Waveform]
) -> Iterator[tuple[str, list[float]]]:
    store = VoiceStore(folder)
    names = [f"Voice {index}" for index in range(len(recordings))]
    for name, recording in zip(names, recordings, strict=True):
        store.put(recording, name)
    with closing(load_synthesizer("chatterbox", checkpoint_dir=checkpoint, device=device)) as synthesizer:
        known = VoiceConditionals(synthesizer)
        yield "first new voice, encoder loaded for it", [time_ms(use, known, store, names[0])]
        yield "new voice", [time_ms(use, known, store, name) for name in names[1:]]
        yield "second job in it", [time_ms(use, known, store, names[-1]) for _ in range(KNOWN_RUNS)]

    # Another worker, which has seen no voice yet.
    with closing(load_synthesizer("chatterbox", checkpoint_dir=checkpoint, device=device)) as synthesizer:
        known, store = VoiceConditionals(synthesizer), VoiceStore(folder)
        use(known, store, names[0])
        yield (
            "stored voice, first job of another worker",
            [time_ms(use, known, store, name) for name in names[1:]],
        )


def upstreams(
    checkpoint: Path, device: str, folder: Path, recordings: list[Waveform]
) -> Iterator[tuple[str, list[float]]]:
    from benchmarks.upstream import load

    files = [folder / f"{index}.wav" for index in range(len(recordings))]
    for file, recording in zip(files, recordings, strict=True):
        soundfile.write(file, recording.samples, recording.sample_rate_hz)
    model = load(checkpoint, device)
    yield "first new voice, encoder loaded for it", [time_ms(model.prepare_conditionals, files[0])]
    every = [time_ms(model.prepare_conditionals, file) for file in files[1:]]
    yield "new voice", every
    again = [time_ms(model.prepare_conditionals, files[-1]) for _ in files[1:]]
    yield "second job in it", again
    yield "stored voice, first job of another worker", every  # it keeps nothing


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conditionals")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # upstream's
    sample = resample(decode_audio(SAMPLE.read_bytes(), str(SAMPLE)), MODEL_SAMPLE_RATE_HZ)
    hiss = np.random.default_rng(0)
    recordings = [
        Waveform(
            sample.samples + 1e-3 * hiss.standard_normal(len(sample.samples), np.float32),
            sample.sample_rate_hz,
        )
        for _ in range(options.runs + 1)
    ]
    with temporary_weights(options.checkpoint) as checkpoint, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        results = {
            "ours": dict(ours(checkpoint, options.device, folder / "voices", recordings)),
            "upstream": dict(upstreams(checkpoint, options.device, folder, recordings)),
        }
    print(f"{describe(options.device)}; medians of {options.runs} voices, ms")
    print(f"{'':43} {'ours':>8} {'largest':>8} {'upstream':>9} {'ratio':>8}")
    for what, times_ms in results["ours"].items():
        mine, theirs = statistics.median(times_ms), statistics.median(results["upstream"][what])
        print(f"{what:43} {mine:8.2f} {max(times_ms):8.2f} {theirs:9.1f} {theirs / mine:8.1f}")
    keep(options.json, options.device, ms=results)


if __name__ == "__main__":
    main()
