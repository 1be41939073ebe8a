"""What a user waits and pays for: text to marked audio in a known voice, beside upstream's ``generate``.

    python -m benchmarks.end_to_end [--checkpoint DIR] [--model NAME] [--device cpu|cuda] [--runs N]
                                    [--only JOB] [--json FILE]

One job at a time; for several see ``benchmarks.throughput`` and ``benchmarks.latency``. Each side has a
process of its own, for its peak memory, and they take turns: one waits while the other speaks. Ours is the
synthesizer as a tts job drives it, with a known voice and the watermark; upstream gets a WAV file with every
text, as its documentation has it. The untrained checkpoint's length follows the text, so that both speak
equally long; what was spoken is printed. A word is spoken first that is not counted. Times are medians. The
real-time factor is seconds of work for a second of audio. The first audio is the first whole chunk of text,
in a stream a piece of it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import torch

from benchmarks.machine import describe, keep, results_file
from benchmarks.weights import add_model, temporary_weights
from speech.contract import Hop
from speech.models.spec import MODELS

WORD = "Yes."
SENTENCE = (
    "The harbour was quiet, and the boats lay still on the water while the town behind them "
    "woke up, one window after the other, to a clear morning."
)
PARAGRAPH = " ".join([SENTENCE] * 2)

# A text and when its audio is rendered; gives seconds of audio, and until the first of it was there.
Speak = Callable[[str, Hop], tuple[float, float]]


def ours(checkpoint: Path, device: str, model: str) -> Speak:
    from benchmarks.ours import load
    from cancel import CancelToken
    from speech.contract import Utterance

    synthesizer, voice = load(checkpoint, device, 1, model)

    def speak(text: str, hop: Hop) -> tuple[float, float]:
        started, audio_s, first_s = time.perf_counter(), 0.0, 0.0
        utterance = Utterance(text, voice, seed=0, language=MODELS[model].default_language)
        chunks = synthesizer.synthesize([utterance], CancelToken(), hop=hop)
        for chunk in synthesizer.watermark(chunks):
            audio_s += chunk.duration_s
            if audio_s and not first_s:
                first_s = time.perf_counter() - started
        return audio_s, first_s

    return speak


def upstreams(speak_text: Callable[[str], float]) -> Speak:
    def speak(text: str, _: Hop) -> tuple[float, float]:
        started = time.perf_counter()
        audio_s = speak_text(text)
        return audio_s, time.perf_counter() - started

    return speak


def jobs_of(side: str) -> dict[str, tuple[str, Hop]]:
    """Returns what a side speaks: upstream speaks sentences one by one, two no faster than each."""
    jobs: dict[str, tuple[str, Hop]] = {"one word": (WORD, "whole"), "a sentence": (SENTENCE, "whole")}
    if side == "ours":
        jobs["two sentences, one text"] = (PARAGRAPH, "whole")
        jobs["the same as a stream"] = (PARAGRAPH, "stream")
    return jobs


def answer(side: str, checkpoint: Path, device: str, model: str) -> None:
    """Speaks each job that is named on stdin, and writes its times, and at last the peak of memory."""
    answers, sys.stdout = sys.stdout, sys.stderr  # upstream prints, too
    with ExitStack() as stack:
        if side == "ours":
            speak = ours(checkpoint, device, model)
        else:
            from benchmarks.upstream import speaker

            speak = upstreams(stack.enter_context(speaker(checkpoint, device, MODELS[model])))
        serve(speak, jobs_of(side), answers)
    on_gpu = device.startswith("cuda")
    peak_bytes = (
        torch.cuda.max_memory_allocated()
        if on_gpu
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    print(peak_bytes / 1e9, file=answers, flush=True)


def serve(speak: Speak, jobs: Mapping[str, tuple[str, Hop]], answers: TextIO) -> None:
    speak(WORD, "whole")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        audio_s, first_s = speak(*jobs[line.strip()])
        took_s = time.perf_counter() - started
        spoken = {"seconds": took_s, "audio_s": audio_s, "first_audio_s": first_s}
        print(json.dumps(spoken), file=answers, flush=True)


class Side:
    """A side is a process that speaks when it is asked to."""

    def __init__(self, name: str, checkpoint: Path, device: str, model: str) -> None:
        """Starts the process and waits until it has its model. Exits the program if that fails."""
        self.jobs = jobs_of(name)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115, open as long as the process writes
        command = [sys.executable, "-m", "benchmarks.end_to_end", "--side", name]
        command += ["--checkpoint", str(checkpoint), "--device", device, "--model", model]
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._read() == "ready"

    def speak(self, job: str) -> dict[str, float]:
        """Returns the seconds that a job took, those until its first audio, and those of its audio."""
        assert self._process.stdin is not None
        self._process.stdin.write(job + "\n")
        self._process.stdin.flush()
        times: dict[str, float] = json.loads(self._read())
        return times

    def end(self) -> float:
        """Ends the process. Returns the most memory that it had, in GB."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        peak_gb = float(self._read())
        self._process.wait()
        return peak_gb

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            sys.exit(self._log.read())
        return line.strip()


def measure(
    sides: Mapping[str, Side], jobs: Iterable[str], runs: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns for each job the medians of each side that has it."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for job in jobs:
        taking_part = {name: side for name, side in sides.items() if job in side.jobs}
        times: dict[str, list[dict[str, float]]] = {name: [] for name in taking_part}
        for _ in range(runs):
            for name, side in taking_part.items():
                times[name].append(side.speak(job))
        rows[job] = {name: medians(each) for name, each in times.items()}
        print(f"{job}: {rows[job]}", file=sys.stderr, flush=True)
    return rows


def medians(times: Sequence[Mapping[str, float]]) -> dict[str, float]:
    found = {name: statistics.median(each[name] for each in times) for name in times[0]}
    return found | {"real_time_factor": found["seconds"] / found["audio_s"]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end")
    add_model(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=tuple(jobs_of("ours")))
    parser.add_argument("--json", type=results_file)
    parser.add_argument("--side", choices=("ours", "upstream"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        answer(options.side, options.checkpoint, options.device, options.model)
        return
    with temporary_weights(options.checkpoint, model=options.model) as checkpoint:
        sides = {name: Side(name, checkpoint, options.device, options.model) for name in ("ours", "upstream")}
        rows = measure(sides, [options.only] if options.only else jobs_of("ours"), options.runs)
        peaks_gb = {name: side.end() for name, side in sides.items()}
    print(f"{options.model}; {describe(options.device)}; medians of {options.runs} runs in turns")
    print(
        f"{'':32} {'ours, s':>8} {'first, s':>9} {'audio, s':>9} {'RTF':>6} "
        f"{'upstream, s':>12} {'audio, s':>9} {'RTF':>6}"
    )
    for job, row in rows.items():
        mine = row["ours"]
        line = (
            f"{job:32} {mine['seconds']:8.2f} {mine['first_audio_s']:9.2f} {mine['audio_s']:9.2f} "
            f"{mine['real_time_factor']:6.3f}"
        )
        if theirs := row.get("upstream"):
            line += f" {theirs['seconds']:12.2f} {theirs['audio_s']:9.2f} {theirs['real_time_factor']:6.3f}"
        print(line)
    memory = "GPU memory" if options.device.startswith("cuda") else "memory of the process"
    print(f"peak {memory}, GB: ours {peaks_gb['ours']:.2f}, upstream {peaks_gb['upstream']:.2f}")
    keep(options.json, options.device, model=options.model, runs=options.runs, rows=rows, peak_gb=peaks_gb)


if __name__ == "__main__":
    main()
