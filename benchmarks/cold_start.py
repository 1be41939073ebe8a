"""From the start of a process to the first sound in a stored voice, beside upstream's way.

    python -m benchmarks.cold_start [--checkpoint DIR] [--runs 3] [--json FILE]

Every run is a process of its own, with the files in the page cache. Ours takes the voice from a store, where
an earlier worker has kept its conditionals; upstream takes a WAV file. Ours says a word to itself before it
takes jobs, as a worker does; upstream does not. Without --checkpoint a full-size
untrained one is written first, 3.2 GB.
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
from benchmarks.weights import temporary_weights
from speech.models.dimensions import FULL
from speech.weights.load import read_config
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
synthesizer = load_synthesizer("chatterbox", checkpoint_dir=Path(sys.argv[2]), device=sys.argv[4])
reached("weights on the device")
synthesizer.check()
reached("it has said a word: takes jobs")
stored = stored_reference(VoiceStore(Path(sys.argv[3])).get(name="Stored"), max_duration_s=30.0)
voice = VoiceConditionals().get(stored, synthesizer, CancelToken())
reached("a stored voice in hand")
list(synthesizer.watermark(synthesizer.synthesize([Utterance(sys.argv[6], voice, seed=0)], CancelToken())))
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
from chatterbox import ChatterboxTTS
import torch
reached("imported")
load = ChatterboxTTS.from_local
if sys.argv[7] != "full":
    from benchmarks.upstream import load
model = load(pathlib.Path(sys.argv[2]), sys.argv[4])
reached("weights on the device")
model.prepare_conditionals(sys.argv[5])
reached("a stored voice in hand")
torch.manual_seed(0)
model.generate(sys.argv[6])
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


def measure(checkpoint: Path, device: str, runs: int) -> dict[str, dict[str, float]]:
    """Medians, by way and stage; the first run of each is not counted."""
    with tempfile.TemporaryDirectory() as temporary:
        voices, recording = Path(temporary) / "voices", Path(temporary) / "voice.wav"
        waveform = resample(decode_audio(SAMPLE.read_bytes(), str(SAMPLE)), MODEL_SAMPLE_RATE_HZ)
        VoiceStore(voices).put(waveform, "Stored")
        soundfile.write(recording, waveform.samples, MODEL_SAMPLE_RATE_HZ)
        size = "full" if read_config(checkpoint).dimensions == FULL else "small"
        arguments = [str(checkpoint), str(voices), device, str(recording), TEXT, size]
        medians = {}
        for way, program in (("ours", OURS), ("upstream", UPSTREAM)):
            every = [stages_of(program, arguments) for _ in range(runs + 1)][1:]
            medians[way] = {stage: statistics.median(run[stage] for run in every) for stage in every[0]}
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    with temporary_weights(options.checkpoint) as checkpoint:
        results = measure(checkpoint, options.device, options.runs)
    print(f"{describe(options.device)}; {options.runs} runs; seconds since the process was started")
    print(f"{'':40} {'ours':>8} {'upstream':>9} {'ratio':>6}")
    for stage, ours in results["ours"].items():
        line = f"{stage:40} {ours:8.2f}"
        if theirs := results["upstream"].get(stage):
            line += f" {theirs:9.2f} {theirs / ours:6.1f}"
        print(line)
    keep(options.json, options.device, seconds=results)


if __name__ == "__main__":
    main()
