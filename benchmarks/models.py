"""How much memory one worker with several models takes, beside a worker for each.

    python -m benchmarks.models [--lists chatterbox,multilingual turbo,nano ...] [--weights FOLDER]
        [--size full] [--device cpu|cuda] [--json FILE]

For each list, and for each of its models alone, a process of its own loads the models as a worker does, lets
each say a word, and prints what it holds: memory of its own, pages of weights that it reads from their files,
the GPU's, and how long loading took. Untrained weights are written into the folder, one subfolder for a
model, unless they are there; at full size they take 3.2 GB a model.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe, keep, results_file
from speech.models.spec import MODELS, ModelSource
from speech.smoke import SIZES

LISTS = ("chatterbox,multilingual", "turbo,nano", "chatterbox,turbo")


def measure(names: Sequence[str], weights: Path, device: str) -> dict[str, float]:
    """Loads models in this process and returns what they take."""
    from speech.pipeline import load_synthesizers

    started_s = time.perf_counter()
    before = held_mb(device)
    synthesizers = load_synthesizers(
        [ModelSource(name, folder=weights / name) for name in names], device=device
    )
    loaded_s = time.perf_counter() - started_s
    for each in synthesizers:
        each.check()
    return {name: value - before[name] for name, value in held_mb(device).items()} | {"load_s": loaded_s}


def held_mb(device: str) -> dict[str, float]:
    """Returns the process's own memory, its pages of files, and on a GPU what PyTorch holds there."""
    sizes_kb = dict(re.findall(r"^(Rss\w+):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE))
    held = {"own_mb": int(sizes_kb["RssAnon"]) / 1e3, "file_mb": int(sizes_kb["RssFile"]) / 1e3}
    if device.startswith("cuda"):
        held["gpu_mb"] = torch.cuda.memory_reserved() / 1e6
    return held


def measure_apart(names: Sequence[str], weights: Path, device: str) -> dict[str, float]:
    """Runs ``measure`` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.models", "--measure", ",".join(names)]
    command += ["--weights", str(weights), "--device", device]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def write_missing(names: Sequence[str], weights: Path, size: str) -> None:
    """Writes untrained weights of the models that have none in the folder."""
    for name in names:
        if not (weights / name).is_dir():
            command = [sys.executable, "-m", "speech.smoke", str(weights / name)]
            command += ["--model", name, "--size", size]
            subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__.splitlines()[0])
    parser.add_argument("--lists", nargs="+", default=LISTS, metavar="MODEL,MODEL")
    parser.add_argument("--weights", type=Path, help="folder with a subfolder for each model")
    parser.add_argument("--size", choices=SIZES, default="full", help="of weights that are missing")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=results_file)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure.split(","), options.weights, options.device)))
        return
    lists = [tuple(each.split(",")) for each in options.lists]
    names = dict.fromkeys(name for each in lists for name in each)
    if unknown := names.keys() - MODELS.keys():
        parser.error(f"no such model: {', '.join(unknown)}; there are {', '.join(MODELS)}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(describe(options.device))
    figures: dict[str, Any] = {}
    folder = tempfile.TemporaryDirectory() if options.weights is None else nullcontext(options.weights)
    with folder as weights:
        write_missing(list(names), Path(weights), options.size)
        rows = dict.fromkeys([*((name,) for name in names), *lists])
        for row in rows:
            label = ",".join(row)
            figures[label] = measure_apart(row, Path(weights), options.device)
            print(f"{label:28}" + "".join(f"  {key} {value:8.1f}" for key, value in figures[label].items()))
    for row in lists:
        apart_mb = sum(figures[name]["own_mb"] for name in row)
        print(f"{','.join(row):28}  own_mb of a worker each {apart_mb:8.1f}")
    keep(options.json, options.device, models=figures)


if __name__ == "__main__":
    main()
