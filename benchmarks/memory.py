"""How much memory a long text takes beyond its audio, and whether jobs leave any behind.

    python -m benchmarks.memory [--checkpoint DIR] [--model NAME] [--device cpu|cuda] [--jobs 500]
                                [--json FILE]

Prints the process's peak after texts of growing length, then what it holds over many jobs, two at a time,
each in a voice of its own: whole, as a stream, and as a stream that is cancelled after its first piece.
Without --checkpoint a tiny untrained one is written first.
"""

from __future__ import annotations

import argparse
import gc
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from benchmarks.machine import describe, keep, results_file
from benchmarks.weights import add_model, temporary_weights
from cancel import CancelToken
from errors import Cancelled
from speech.contract import Conditionals, Hop, Utterance
from speech.pipeline import ChatterboxSynthesizer, load_synthesizer

SENTENCE = "The harbour was quiet, and the boats lay still on the water. "
TEXT_LENGTHS = (300, 1_000, 2_500, 5_000)
JOBS_AT_ONCE = 2
VOICE_S = 3  # more than the shortest recording that the model takes


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def new_voice(synthesizer: ChatterboxSynthesizer, number: int) -> Conditionals:
    duration_s = synthesizer.info.spec.conditioning.least_s + VOICE_S
    noise = np.random.default_rng(number).normal(0.0, 0.1, round(duration_s * MODEL_SAMPLE_RATE_HZ))
    waveform = Waveform(noise.astype(np.float32), MODEL_SAMPLE_RATE_HZ)
    return synthesizer.encode_reference(waveform, CancelToken())


def utterance(synthesizer: ChatterboxSynthesizer, text: str, voice: Conditionals, seed: int) -> Utterance:
    return Utterance(text, voice, seed, language=synthesizer.info.spec.default_language)


def speak(
    synthesizer: ChatterboxSynthesizer, text: str, voice: Conditionals, seed: int, hop: Hop = "whole"
) -> list[Waveform]:
    """The watermarked chunks."""
    chunks = synthesizer.synthesize([utterance(synthesizer, text, voice, seed)], CancelToken(), hop=hop)
    return [chunk.waveform for chunk in synthesizer.watermark(chunks)]


def speak_a_piece(synthesizer: ChatterboxSynthesizer, text: str, voice: Conditionals, seed: int) -> None:
    """Cancels a stream after its first piece."""
    cancel = CancelToken()
    chunks = synthesizer.watermark(
        synthesizer.synthesize([utterance(synthesizer, text, voice, seed)], cancel, hop="stream")
    )
    next(chunks)
    cancel.cancel(Cancelled("nobody listens any more"))
    with suppress(Cancelled):
        list(chunks)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    add_model(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    with temporary_weights(options.checkpoint, "tiny", options.model) as checkpoint:
        synthesizer = load_synthesizer(
            options.model, checkpoint_dir=checkpoint, device=options.device, max_concurrency=JOBS_AT_ONCE
        )
        synthesizer.check()
    print(describe(options.device))
    peaks, held = {}, {}
    print("characters   audio, s   audio, MB   peak, MB")
    for length in TEXT_LENGTHS:
        text = (SENTENCE * (length // len(SENTENCE) + 1))[:length]
        spoken = speak(synthesizer, text, synthesizer.builtin_voice(), seed=1)
        audio_s = sum(waveform.duration_s for waveform in spoken)
        audio_mb = sum(waveform.samples.nbytes for waveform in spoken) / 1e6
        peaks[length] = peak_mb()
        print(f"{length:10} {audio_s:10.1f} {audio_mb:11.1f} {peaks[length]:10.0f}", flush=True)
        del spoken

    def job(number: int) -> None:
        voice = new_voice(synthesizer, number)
        match number % 3:
            case 0:
                speak(synthesizer, SENTENCE, voice, seed=number)
            case 1:
                speak(synthesizer, SENTENCE, voice, seed=number, hop="stream")
            case _:
                speak_a_piece(synthesizer, 3 * SENTENCE, voice, seed=number)

    on_gpu = options.device.startswith("cuda")
    print(f"jobs    resident, MB{'    on the GPU, MB' * on_gpu}")
    with ThreadPoolExecutor(JOBS_AT_ONCE) as threads:
        for done in range(0, options.jobs + 1, max(1, options.jobs // 10)):
            if done:
                list(threads.map(job, range(done - options.jobs // 10, done)))
            gc.collect()
            held[done] = {"resident_mb": resident_mb()}
            if on_gpu:
                held[done]["gpu_mb"] = torch.cuda.memory_reserved() / 1e6
            print(f"{done:4} " + " ".join(f"{value:15.0f}" for value in held[done].values()), flush=True)
    figures = {"peak_mb_by_characters": peaks, "after_jobs": held}
    keep(options.json, options.device, model=options.model, **figures)


if __name__ == "__main__":
    main()
