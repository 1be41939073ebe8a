"""What a reference costs a job, in workers that have just started, beside upstream.

    python -m benchmarks.reference [--checkpoint DIR] [--model NAME] [--device cpu|cuda] [--runs 5]
                                   [--json FILE]

Each run is three processes, one after the other: a worker of ours that gets recordings with its jobs, one
that speaks in a stored voice, and upstream's ``prepare_conditionals`` with WAV files, which it calls for each
job. So both sides take turns. The first run is not counted. The recordings have 11.5 s. Without --checkpoint
a full-size untrained one is written first, 3.2 GB.

start: from the start of the process to a model that is loaded
first: the first new voice after that, with all that is imported for it
new: another one
known: a second job in it
stored: a stored voice, first job of a worker
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import describe, keep, results_file
from benchmarks.weights import add_model, temporary_weights

if TYPE_CHECKING:
    from operations.conditionals import Reference

SAMPLE = Path("samples/reference.flac")
STAGES = ("start", "first", "new", "known", "stored")
NAMES = ("First", "Second")
KNOWN_RUNS = 20
MAX_DURATION_S = 30.0


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# What one process does. Imports are those of the way that is measured, so that its time holds them.


def ours(model: str, checkpoint: Path, device: str, folder: Path, started: float) -> dict[str, float]:
    """A worker that gets recordings with its jobs."""
    import base64

    from cancel import CancelToken
    from operations import warm_up
    from operations.conditionals import Reference, VoiceConditionals
    from operations.reference import ReferenceFields, decode_reference
    from speech.pipeline import load_synthesizer

    synthesizer = load_synthesizer(model, checkpoint_dir=checkpoint, device=device)
    warm_up("en")
    stages = {"start": time.time() - started}
    known, cancel = VoiceConditionals(), CancelToken()
    requests = [
        ReferenceFields(reference_audio=base64.b64encode((folder / f"{name}.wav").read_bytes()).decode())
        for name in NAMES
    ]

    def use(request: ReferenceFields) -> None:
        sent = decode_reference(request, lambda *_: b"", cancel)
        assert sent is not None
        known.get(Reference.of(sent.waveform), synthesizer, cancel)

    stages["first"], stages["new"] = (seconds(partial(use, request)) for request in requests)
    stored = _stored(folder)
    known.get(stored(), synthesizer, cancel)
    stages["known"] = statistics.median(
        seconds(lambda: known.get(stored(), synthesizer, cancel)) for _ in range(KNOWN_RUNS)
    )
    synthesizer.close()
    return stages


def ours_stored(model: str, checkpoint: Path, device: str, folder: Path, started: float) -> dict[str, float]:
    """A worker that speaks in a stored voice."""
    from cancel import CancelToken
    from operations.conditionals import VoiceConditionals
    from speech.pipeline import load_synthesizer

    synthesizer = load_synthesizer(model, checkpoint_dir=checkpoint, device=device)
    known, stored = VoiceConditionals(), _stored(folder)
    stages = {"stored": seconds(lambda: known.get(stored(), synthesizer, CancelToken()))}
    synthesizer.close()
    return stages


def upstreams(model: str, checkpoint: Path, device: str, folder: Path, started: float) -> dict[str, float]:
    """Upstream as its users load it. It keeps nothing."""
    import warnings

    warnings.simplefilter("ignore")
    from benchmarks.upstream import load
    from speech.models.spec import MODELS

    loaded = load(checkpoint, device, MODELS[model])
    stages = {"start": time.time() - started}
    for stage, name in (("first", NAMES[0]), ("new", NAMES[1]), ("known", NAMES[1])):
        stages[stage] = seconds(partial(loaded.prepare_conditionals, folder / f"{name}.wav"))
    return stages | {"stored": stages["first"]}


def _stored(folder: Path) -> Callable[[], Reference]:
    """Looks a stored voice up, as every job does."""
    from operations.reference import stored_reference
    from voice_store import VoiceStore

    store = VoiceStore(folder / "voices")
    return lambda: stored_reference(store.get(name=NAMES[0]), MAX_DURATION_S)


WAYS = {"ours": ours, "ours stored": ours_stored, "upstream": upstreams}


def run_process(way: str, model: str, checkpoint: Path, device: str, folder: Path) -> dict[str, float]:
    """Returns seconds by stage."""
    search_path = os.pathsep.join([".", *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "benchmarks.reference", "--way", way, "--model", model]
    command += ["--folder", str(folder)]
    finished = subprocess.run(  # noqa: S603
        [*command, "--checkpoint", str(checkpoint), "--device", device, "--started", str(time.time())],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": search_path},
    )
    if finished.returncode:
        sys.exit(finished.stderr)
    stages: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return stages


def write_recordings(folder: Path) -> None:
    """Writes two recordings that differ by a hiss, and stores the first."""
    import numpy as np
    import soundfile

    from audio.decode import decode_audio
    from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform, resample
    from voice_store import VoiceStore

    sample = resample(decode_audio(SAMPLE.read_bytes(), str(SAMPLE)), MODEL_SAMPLE_RATE_HZ)
    hiss = np.random.default_rng(0)
    for name in NAMES:
        samples = sample.samples + 1e-3 * hiss.standard_normal(len(sample.samples), np.float32)
        soundfile.write(folder / f"{name}.wav", samples, MODEL_SAMPLE_RATE_HZ)
        if name == NAMES[0]:
            VoiceStore(folder / "voices").put(Waveform(samples, MODEL_SAMPLE_RATE_HZ), name)


def measure(model: str, checkpoint: Path, device: str, runs: int) -> dict[str, dict[str, list[float]]]:
    """Returns seconds of every counted run, by side and stage."""
    results: dict[str, dict[str, list[float]]] = {
        side: {stage: [] for stage in STAGES} for side in ("ours", "upstream")
    }
    with tempfile.TemporaryDirectory() as temporary:
        write_recordings(Path(temporary))
        for number in range(runs + 1):
            for way in WAYS:
                for stage, duration_s in run_process(way, model, checkpoint, device, Path(temporary)).items():
                    if number:
                        results[way.split()[0]][stage].append(duration_s)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reference")
    add_model(parser)
    parser.add_argument("--device")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=results_file)
    for own in ("--way", "--folder", "--started"):  # of a process that is measured
        parser.add_argument(own, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        way = WAYS[options.way]
        stages = way(
            options.model, options.checkpoint, options.device, Path(options.folder), float(options.started)
        )
        print(json.dumps(stages))
        return

    import torch

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    with temporary_weights(options.checkpoint, model=options.model) as checkpoint:
        results = measure(options.model, checkpoint, device, options.runs)
    print(f"{options.model}; {describe(device)}; medians of {options.runs} runs, seconds")
    print(f"{'':8} {'ours':>8} {'largest':>8} {'upstream':>9} {'ratio':>8}")
    for stage in STAGES:
        mine, theirs = (statistics.median(results[side][stage]) for side in ("ours", "upstream"))
        largest = max(results["ours"][stage])
        print(f"{stage:8} {mine:8.3f} {largest:8.3f} {theirs:9.3f} {theirs / mine:8.1f}")
    keep(options.json, device, model=options.model, seconds=results)


if __name__ == "__main__":
    main()
