"""What a user waits and pays for: text to marked audio in a known voice, beside upstream's ``generate``.

    python -m benchmarks.end_to_end [--checkpoint DIR] [--device cpu|cuda] [--runs N] [--json FILE]

One job at a time; for several see ``benchmarks.throughput`` and ``benchmarks.latency``. Each side runs in a
process of its own, for its peak memory. Ours is the synthesizer as a tts job drives it, with a known voice
and the watermark; upstream gets a WAV file with every text, as its documentation has it. The untrained
checkpoint's length follows the text, so that both speak equally long; what was spoken is printed. A word is
spoken first that is not counted. Times are medians. The real-time factor is seconds of work for a second of
audio. The first audio is the first whole chunk of text, in a stream a piece of it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import torch

from benchmarks.machine import describe, keep, results_file
from benchmarks.weights import temporary_weights
from speech.contract import Hop

WORD = "Yes."
SENTENCE = (
    "The harbour was quiet, and the boats lay still on the water while the town behind them "
    "woke up, one window after the other, to a clear morning."
)
PARAGRAPH = " ".join([SENTENCE] * 2)

# A text and when its audio is rendered; gives seconds of audio, and until the first of it was there.
Speak = Callable[[str, Hop], tuple[float, float]]


def ours(checkpoint: Path, device: str) -> Speak:
    from benchmarks.ours import load
    from cancel import CancelToken
    from speech.contract import Utterance

    synthesizer, voice = load(checkpoint, device, 1)

    def speak(text: str, hop: Hop) -> tuple[float, float]:
        started, audio_s, first_s = time.perf_counter(), 0.0, 0.0
        chunks = synthesizer.synthesize([Utterance(text, voice, seed=0)], CancelToken(), hop=hop)
        for chunk in synthesizer.watermark(chunks):
            audio_s += chunk.duration_s
            if audio_s and not first_s:
                first_s = time.perf_counter() - started
        return audio_s, first_s

    return speak


def upstreams(checkpoint: Path, device: str) -> Speak:
    from benchmarks.ours import reference
    from benchmarks.upstream import load

    warnings.simplefilter("ignore")
    model = load(checkpoint, device)
    sample = reference()
    handle, name = tempfile.mkstemp(suffix=".wav")
    os.close(handle)
    soundfile.write(name, sample.samples, sample.sample_rate_hz)

    def speak(text: str, _: Hop) -> tuple[float, float]:
        started = time.perf_counter()
        torch.manual_seed(0)
        audio_s = float(model.generate(text, audio_prompt_path=name).shape[-1] / model.sr)
        return audio_s, time.perf_counter() - started

    return speak


def measure(side: str, checkpoint: Path, device: str, runs: int) -> dict[str, Any]:
    speak = (ours if side == "ours" else upstreams)(checkpoint, device)
    speak(WORD, "whole")
    jobs: dict[str, tuple[str, Hop]] = {"one word": (WORD, "whole"), "a sentence": (SENTENCE, "whole")}
    if side == "ours":  # upstream speaks sentences one by one: no faster than one
        jobs["two sentences, one text"] = (PARAGRAPH, "whole")
        jobs["the same as a stream"] = (PARAGRAPH, "stream")
    rows = {}
    for what, job in jobs.items():
        took_s, first_s = [], []
        for _ in range(runs):
            started = time.perf_counter()
            audio_s, until_first_s = speak(*job)
            took_s.append(time.perf_counter() - started)
            first_s.append(until_first_s)
        rows[what] = {
            "seconds": statistics.median(took_s),
            "audio_s": audio_s,
            "real_time_factor": statistics.median(took_s) / audio_s,
            "first_audio_s": statistics.median(first_s),
        }
    on_gpu = device.startswith("cuda")
    peak_bytes = (
        torch.cuda.max_memory_allocated()
        if on_gpu
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {"rows": rows, "peak_gb": peak_bytes / 1e9}


def apart(side: str, checkpoint: Path, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.end_to_end", "--side", side, "--checkpoint", str(checkpoint)]
    command += ["--device", options.device, "--runs", str(options.runs)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if finished.returncode:
        sys.exit(finished.stderr)
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=results_file)
    parser.add_argument("--side", choices=("ours", "upstream"), help="only this one, as JSON")
    options = parser.parse_args()
    if options.side:
        result = measure(options.side, options.checkpoint, options.device, options.runs)
        print(json.dumps(result))
        return
    with temporary_weights(options.checkpoint) as checkpoint:
        sides = {side: apart(side, checkpoint, options) for side in ("ours", "upstream")}
    print(f"{describe(options.device)}; medians of {options.runs} runs")
    print(
        f"{'':32} {'ours, s':>8} {'first, s':>9} {'audio, s':>9} {'RTF':>6} "
        f"{'upstream, s':>12} {'audio, s':>9} {'RTF':>6}"
    )
    for what, mine in sides["ours"]["rows"].items():
        line = (
            f"{what:32} {mine['seconds']:8.2f} {mine['first_audio_s']:9.2f} {mine['audio_s']:9.2f} "
            f"{mine['real_time_factor']:6.3f}"
        )
        if theirs := sides["upstream"]["rows"].get(what):
            line += f" {theirs['seconds']:12.2f} {theirs['audio_s']:9.2f} {theirs['real_time_factor']:6.3f}"
        print(line)
    memory = "GPU memory" if options.device.startswith("cuda") else "memory of the process"
    print(
        f"peak {memory}, GB: ours {sides['ours']['peak_gb']:.2f}, upstream {sides['upstream']['peak_gb']:.2f}"
    )
    keep(options.json, options.device, sides=sides)


if __name__ == "__main__":
    main()
