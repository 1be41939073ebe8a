"""From the start of a process to the first sound in a stored voice, beside upstream's way.

    python -m benchmarks.cold_start [--checkpoint DIR] [--model NAME] [--device cpu|cuda] [--runs 3]
                                    [--json FILE]

Every run is a process of its own, with the files in the page cache, and the sides take turns. Ours takes the
voice from a store, where an earlier worker has kept its conditionals; upstream takes a WAV file. Ours says a
word to itself before it takes jobs, as a worker does; upstream does not. Upstream's class is loaded by its
``from_local`` where that knows the model and its size; else it is built of the same parts, which is faster:
``from_local`` initialises every weight at random first. Without --checkpoint a full-size untrained one is
written first, 3.2 GB.
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
from pathlib import Path

import soundfile

from audio.decode import decode_audio
from audio.waveform import MODEL_SAMPLE_RATE_HZ, resample
from benchmarks.machine import describe, keep, results_file
from benchmarks.weights import add_model, temporary_weights
from speech.models.spec import MODELS
from voice_store import VoiceStore

SAMPLE = Path("samples/reference.flac")
TEXT = "Yes."

CLOCK = """
import json, sys, time
started, stages = float(sys.argv[1]), {}
def reached(stage):
    stages[stage] = time.time() - started
"""
OURS = (
    CLOCK
    + """
from cancel import CancelToken
from operations.conditionals import VoiceConditionals
from operations.reference import stored_reference
from speech.contract import Utterance
from speech.pipeline import load_synthesizer
from voice_store import VoiceStore
from pathlib import Path
reached("imported")
synthesizer = load_synthesizer(sys.argv[7], checkpoint_dir=Path(sys.argv[2]), device=sys.argv[4])
reached("weights on the device")
synthesizer.check()
reached("it has said a word: takes jobs")
stored = stored_reference(VoiceStore(Path(sys.argv[3])).get(name="Stored"), max_duration_s=30.0)
voice = VoiceConditionals().get(stored, synthesizer, CancelToken())
reached("a stored voice in hand")
utterance = Utterance(sys.argv[6], voice, seed=0, language=synthesizer.info.spec.default_language)
list(synthesizer.watermark(synthesizer.synthesize([utterance], CancelToken())))
reached("first sound in that voice")
print(json.dumps(stages))
"""
)
UPSTREAM = (
    CLOCK
    + """
import pathlib
import warnings
warnings.simplefilter("ignore")
from benchmarks import upstream
from speech.models.spec import MODELS
import torch
reached("imported")
load, spec = getattr(upstream, sys.argv[8]), MODELS[sys.argv[7]]
model = load(pathlib.Path(sys.argv[2]), sys.argv[4], spec)
reached("weights on the device")
model.prepare_conditionals(sys.argv[5])
reached("a stored voice in hand")
torch.manual_seed(0)
upstream.generate(model, spec, sys.argv[6])
reached("first sound in that voice")
print(json.dumps(stages))
"""
)


def search_path() -> str:
    """This folder before what the caller's PYTHONPATH names: packages may lie there."""
    return os.pathsep.join([".", *filter(None, [os.environ.get("PYTHONPATH")])])


def stages_of(program: str, arguments: list[str]) -> dict[str, float]:
    """Seconds since the process was started, by stage."""
    finished = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program, str(time.time()), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": search_path()},
    )
    if finished.returncode:
        sys.exit(finished.stderr)
    stages: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return stages


def measure(checkpoint: Path, device: str, runs: int, model: str) -> tuple[str, dict[str, dict[str, float]]]:
    """Returns how upstream is loaded, and medians by side and stage; the first run of each is not counted."""
    from benchmarks.upstream import users_can_load

    with tempfile.TemporaryDirectory() as temporary:
        voices, recording = Path(temporary) / "voices", Path(temporary) / "voice.wav"
        waveform = resample(decode_audio(SAMPLE.read_bytes(), str(SAMPLE)), MODEL_SAMPLE_RATE_HZ)
        VoiceStore(voices).put(waveform, "Stored")
        soundfile.write(recording, waveform.samples, MODEL_SAMPLE_RATE_HZ)
        way = "load_as_users_do" if users_can_load(checkpoint, MODELS[model]) else "build"
        arguments = [str(checkpoint), str(voices), device, str(recording), TEXT, model, way]
        every: dict[str, list[dict[str, float]]] = {"ours": [], "upstream": []}
        for _ in range(runs + 1):
            for side, program in (("ours", OURS), ("upstream", UPSTREAM)):
                every[side].append(stages_of(program, arguments))
    medians = {
        side: {stage: statistics.median(run[stage] for run in taken[1:]) for stage in taken[0]}
        for side, taken in every.items()
    }
    return ("from_local" if way == "load_as_users_do" else "built of its parts"), medians


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start")
    add_model(parser)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    with temporary_weights(options.checkpoint, model=options.model) as checkpoint:
        way, results = measure(checkpoint, options.device, options.runs, options.model)
    print(f"{options.model}; {describe(options.device)}; upstream: {way}")
    print(f"medians of {options.runs} runs in turns; seconds since the process was started")
    print(f"{'':40} {'ours':>8} {'upstream':>9} {'ratio':>6}")
    for stage, ours in results["ours"].items():
        line = f"{stage:40} {ours:8.2f}"
        if theirs := results["upstream"].get(stage):
            line += f" {theirs:9.2f} {theirs / ours:6.1f}"
        print(line)
    keep(options.json, options.device, model=options.model, upstreams_way=way, seconds=results)


if __name__ == "__main__":
    main()
