"""All benchmarks that this machine can run, one after the other, each in a process of its own.

    python -m benchmarks [--device cpu|cuda] [--only NAME,...] [--model NAME] [--checkpoint DIR] [--runs N]
                         [--to FOLDER]
    python -m benchmarks plot [--to FOLDER]

Each leaves what it printed and its figures as JSON in the folder. Another model than Chatterbox is measured
with --model: its figures' names begin with the model's, and probe, store, text and word_times, which measure
no model or always that one, are left out unless --only names them. memory takes tiny weights of the model.
The exit status is 1 when one failed.
``plot`` runs nothing: it draws the newest figures of latency and throughput in that folder into ``docs/``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.machine import machine
from benchmarks.plot import plot
from benchmarks.weights import add_model, temporary_weights
from speech.models.spec import CHATTERBOX

OF_THE_MODEL = (
    "decode",
    "profile",
    "s3gen",
    "cold_start",
    "reference",
    "end_to_end",
    "latency",
    "throughput",
    "http_server",
)
WITH_RUNS = ("s3gen", "cold_start", "reference", "end_to_end", "latency", "throughput", "http_server")
WITH_MODEL = (*OF_THE_MODEL, "memory")
NAMES = ("probe", *WITH_MODEL, "store", "text", "word_times")
ON_THE_CPU = ("store", "text", "word_times")
REHEARSAL = {  # with tiny weights, whose figures mean nothing
    "decode": ["--steps", "30", "--rounds", "1"],
    "latency": ["--rate", "2", "--requests", "2"],
    "throughput": ["--texts", "1"],
    "http_server": ["--clients", "1,2", "--requests", "1"],
}
RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"


def run(name: str, arguments: list[str], output: Path) -> bool:
    """Prints as the benchmark prints, and keeps it."""
    started = time.monotonic()
    print(f"\n== {name}", flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    with (
        output.open("w") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,  # noqa: S603
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            print(line, end="", flush=True)
    print(f"== {name}: exit {process.returncode} after {time.monotonic() - started:.0f} s", flush=True)
    return process.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("plot",), help="draws figures instead of measuring any")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", help=f"all without it: {', '.join(NAMES)}")
    add_model(parser)
    parser.add_argument(
        "--size",
        choices=("tiny", "full"),
        default="full",
        help="of the untrained weights; tiny is a rehearsal",
    )
    parser.add_argument("--runs", help="of those that take this option")
    parser.add_argument("--price-per-hour", help="of the machine, for throughput")
    parser.add_argument("--to", type=Path, default=RESULTS, help="where results are kept")
    options = parser.parse_args()
    if options.what == "plot":
        for file in (drawn := plot(options.to, DOCS)):
            print(f"drew {file}")
        if not drawn:
            parser.error(f"{options.to} holds no results of latency or throughput: name another in --to")
        return
    is_another = options.model != CHATTERBOX.name
    names = options.only.split(",") if options.only else list(WITH_MODEL if is_another else NAMES)
    if unknown := set(names) - set(NAMES):
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}")
    place = re.sub(r"[^a-z0-9]+", "-", machine(options.device).lower()).strip("-")
    options.to.mkdir(parents=True, exist_ok=True)
    failed = []
    with temporary_weights(options.checkpoint, options.size, options.model) as checkpoint:
        for name in names:
            kept_as = f"{options.model}-{name}" if is_another and name in WITH_MODEL else name
            file = options.to / f"{kept_as}-{place}"
            arguments = ["--json", str(file.with_suffix(".json"))]
            if name in OF_THE_MODEL:
                arguments += ["--checkpoint", str(checkpoint)]
            if name in WITH_MODEL:
                arguments += ["--model", options.model]
            if name not in ON_THE_CPU:
                arguments += ["--device", options.device]
            if options.runs and name in WITH_RUNS:
                arguments += ["--runs", options.runs]
            if options.price_per_hour and name == "throughput":
                arguments += ["--price-per-hour", options.price_per_hour]
            if options.size == "tiny":
                arguments += REHEARSAL.get(name, [])
            if not run(name, arguments, file.with_suffix(".txt")):
                failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
