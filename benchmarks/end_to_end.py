"""What a user waits for: loading, the first voice, ten seconds of speech.

    python -m benchmarks.end_to_end [--checkpoint DIR] [--device cpu|cuda] [--runs 5] [--json FILE]

Without --checkpoint a tiny untrained one is written first. Prints a table: median, smallest and
largest of the runs after one that is not counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from speech.contract import Reference, SpeechParams
from speech.engine import SpeechEngine, load_engine
from speech.smoke import write_smoke_checkpoint

TEN_SECONDS = (
    "The harbour was quiet, and the boats lay still on the water while the town behind them "
    "woke up, one window after the other, to a clear morning."
)


def time_s(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} torch threads"


def commit() -> str:
    result = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or "unknown"


def measure(checkpoint: Path, device: str, runs: int) -> dict[str, list[float]]:
    """Seconds of each run, by what was measured."""
    loads: list[float] = []
    engines: list[SpeechEngine] = []
    for _ in range(2):  # the first reads the disk, the second the page cache
        engines.clear()
        loads.append(
            time_s(
                lambda: engines.append(load_engine("chatterbox", checkpoint_dir=checkpoint, device=device))
            )
        )
    (engine,) = engines
    warm_up = time_s(engine.warm_up)

    generator = np.random.default_rng(0)
    voices = [
        Reference.of(
            Waveform(
                generator.normal(0, 0.1, 10 * MODEL_SAMPLE_RATE_HZ).astype(np.float32), MODEL_SAMPLE_RATE_HZ
            )
        )
        for _ in range(runs + 1)
    ]

    def say_yes(voice: Reference) -> float:
        return time_s(lambda: engine.speak("Yes.", voice, SpeechParams(seed=0)))

    new_voice = [say_yes(voice) for voice in voices]
    known_voice = [say_yes(voices[-1]) for _ in voices]

    speech, factors = [], []
    for _ in range(runs + 1):
        started = time.perf_counter()
        spoken = engine.speak(TEN_SECONDS, voices[-1], SpeechParams(seed=0))
        speech.append(time.perf_counter() - started)
        factors.append(speech[-1] / spoken.waveform.duration_s)
    print(f"the passage is {spoken.waveform.duration_s:.1f} s long")
    return {
        "load, files in the page cache, s": loads[1:],
        "warm-up, s": [warm_up],
        "one word in a new voice, s": new_voice[1:],
        "one word in a known voice, s": known_voice[1:],
        "the passage, s": speech[1:],
        "the passage, seconds per second of audio": factors[1:],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = options.checkpoint or Path(temporary)
        if options.checkpoint is None:
            write_smoke_checkpoint(checkpoint)
        results = measure(checkpoint, options.device, options.runs)
    where, what = machine(options.device), options.checkpoint or "tiny untrained checkpoint"
    print(f"{where}; {what}; commit {commit()}; {options.runs} runs")
    for name, values in results.items():
        print(f"{name:45} {statistics.median(values):8.3f}  ({min(values):.3f} to {max(values):.3f})")
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{'peak memory of the process, GB':45} {peak_gb:8.2f}")
    if options.json:
        options.json.write_text(
            json.dumps(
                {"machine": where, "commit": commit(), "seconds": results, "peak_gb": peak_gb}, indent=2
            )
        )


if __name__ == "__main__":
    main()
