"""What a user waits and pays for: text to marked audio in a known voice, beside upstream's ``generate``.

    python -m benchmarks.end_to_end [--checkpoint DIR] [--device cpu|cuda] [--runs N] [--jobs 1,2] [--json F]

Each side runs in a process of its own, for its peak memory. Ours is the synthesizer as a tts job drives it,
with a known voice and the watermark; upstream gets a WAV file with every text, as its documentation has it,
one job after the other. The untrained checkpoint's length follows the text, so that both speak equally long;
what was spoken is printed. A word is spoken first that is not counted. Times are medians. The real-time
factor is seconds of work for a second of audio. The first audio is what a streaming endpoint can send then.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import soundfile
import torch

from audio.decode import decode_audio
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
from benchmarks.machine import describe, keep
from benchmarks.weights import temporary_weights

SAMPLE = Path("samples/reference.flac")
WORD = "Yes."
SENTENCE = (
    "The harbour was quiet, and the boats lay still on the water while the town behind them "
    "woke up, one window after the other, to a clear morning."
)
PARAGRAPH = " ".join([SENTENCE] * 2)

Speak = Callable[[str], tuple[float, float]]  # a text; seconds of audio, and until the first of it was there


def ours(checkpoint: Path, device: str, jobs: int, sample: Waveform) -> Speak:
    from cancel import CancelToken
    from speech.contract import Utterance
    from speech.pipeline import load_synthesizer

    synthesizer = load_synthesizer(
        "chatterbox", checkpoint_dir=checkpoint, device=device, max_concurrency=jobs
    )
    synthesizer.check()
    voice = synthesizer.encode_reference(sample, CancelToken())

    def speak(text: str) -> tuple[float, float]:
        started, audio_s, first_s = time.perf_counter(), 0.0, 0.0
        chunks = synthesizer.synthesize([Utterance(text, voice, seed=0)], CancelToken())
        for chunk in synthesizer.watermark(chunks):
            first_s = first_s or time.perf_counter() - started
            audio_s += chunk.duration_s
        return audio_s, first_s

    return speak


def upstreams(checkpoint: Path, device: str, sample: Waveform) -> Speak:
    from benchmarks.upstream import load

    warnings.simplefilter("ignore")
    model = load(checkpoint, device)
    handle, name = tempfile.mkstemp(suffix=".wav")
    os.close(handle)
    soundfile.write(name, sample.samples, sample.sample_rate_hz)

    def speak(text: str) -> tuple[float, float]:
        started = time.perf_counter()
        torch.manual_seed(0)
        audio_s = float(model.generate(text, audio_prompt_path=name).shape[-1] / model.sr)
        return audio_s, time.perf_counter() - started

    return speak


def timed(speak: Speak, texts: list[str], threads: ThreadPoolExecutor) -> tuple[float, float, float]:
    """Seconds of work, of audio, and until the first audio of a text, its median."""
    started = time.perf_counter()
    spoken = list(threads.map(speak, texts))
    took_s = time.perf_counter() - started
    return took_s, sum(audio_s for audio_s, _ in spoken), statistics.median(first_s for _, first_s in spoken)


def measure(side: str, checkpoint: Path, device: str, runs: int, jobs: list[int]) -> dict[str, Any]:
    sample = resample(decode_audio(SAMPLE.read_bytes(), str(SAMPLE)), MODEL_SAMPLE_RATE_HZ)
    if side == "ours":
        speak = ours(checkpoint, device, max(jobs), sample)
    else:
        speak, jobs = upstreams(checkpoint, device, sample), [1]
    speak(WORD)
    work: dict[str, list[str]] = {"one word": [WORD], "a sentence": [SENTENCE]}
    if side == "ours":  # upstream speaks sentences one by one: no faster than one
        work["two sentences, one text"] = [PARAGRAPH]
    work |= {f"{count} sentences at once": [SENTENCE] * count for count in jobs if count > 1}
    rows = {}
    for what, texts in work.items():
        # A worker's threads stay; new ones for each run would pay for what libraries keep by thread.
        with ThreadPoolExecutor(len(texts)) as threads:
            every = [timed(speak, texts, threads) for _ in range(runs)]
        took_s, first_s = (statistics.median(one[index] for one in every) for index in (0, 2))
        audio_s = every[0][1]
        rows[what] = {
            "seconds": took_s,
            "audio_s": audio_s,
            "real_time_factor": took_s / audio_s,
            "first_audio_s": first_s,
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
    command += ["--device", options.device, "--runs", str(options.runs), "--jobs", options.jobs]
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
    parser.add_argument("--jobs", help="how many at once, such as 1,8,32")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=("ours", "upstream"), help="only this one, as JSON")
    options = parser.parse_args()
    options.jobs = options.jobs or ("1,8,32" if options.device.startswith("cuda") else "1,2")
    jobs = [int(count) for count in options.jobs.split(",")]
    if options.side:
        result = measure(options.side, options.checkpoint, options.device, options.runs, jobs)
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
