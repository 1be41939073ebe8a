"""From the start of a process to the first sound in a stored voice, beside upstream's way.

    python -m benchmarks.cold_start [--model chatterbox] [--checkpoint DIR] [--runs 5] [--json FILE]

Every run is a process of its own, with the files in the page cache; the two sides take turns. Ours takes the
voice from a store, where an earlier worker has kept its conditionals; upstream takes a WAV file. Ours says a
word to itself before it takes jobs, as a worker does; upstream does not. Without --checkpoint a full-size
untrained one is written first, up to 3.2 GB. Nano, the multilingual models and small sizes are loaded by what
``from_local`` does, which does not load them.
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
from benchmarks.upstream import language_of
from benchmarks.weights import temporary_weights
from speech.models.spec import CHATTERBOX, MODELS, TURBO, ModelSpec
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
synthesizer = load_synthesizer(sys.argv[7], checkpoint_dir=Path(sys.argv[2]), device=sys.argv[4])
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
import torch
if sys.argv[8] == "ChatterboxTTS":
    from chatterbox import ChatterboxTTS
    load = ChatterboxTTS.from_local
elif sys.argv[8] == "ChatterboxTurboTTS":
    from chatterbox.tts_turbo import ChatterboxTurboTTS
    load = ChatterboxTurboTTS.from_local
else:
    from functools import partial
    from benchmarks.upstream import load
    from speech.models.spec import MODELS
    load = partial(load, spec=MODELS[sys.argv[7]])
reached("imported")
model = load(pathlib.Path(sys.argv[2]), sys.argv[4])
reached("weights on the device")
model.prepare_conditionals(sys.argv[5])
reached("a stored voice in hand")
torch.manual_seed(0)
model.generate(sys.argv[6], **json.loads(sys.argv[9]))
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


def upstreams_class(spec: ModelSpec, checkpoint: Path) -> str:
    """Returns the name of upstream's class whose ``from_local`` loads a checkpoint; "" where none does."""
    if read_config(checkpoint, spec.dimensions).dimensions != spec.dimensions:
        return ""
    return {CHATTERBOX: "ChatterboxTTS", TURBO: "ChatterboxTurboTTS"}.get(spec, "")


def measure(spec: ModelSpec, checkpoint: Path, device: str, runs: int) -> dict[str, dict[str, float]]:
    """Medians, by way and stage, of runs in turn; the first run of each is not counted."""
    with tempfile.TemporaryDirectory() as temporary:
        voices, recording = Path(temporary) / "voices", Path(temporary) / "voice.wav"
        waveform = resample(decode_audio(SAMPLE.read_bytes(), str(SAMPLE)), MODEL_SAMPLE_RATE_HZ)
        VoiceStore(voices).put(waveform, "Stored")
        soundfile.write(recording, waveform.samples, MODEL_SAMPLE_RATE_HZ)
        arguments = [str(checkpoint), str(voices), device, str(recording), TEXT, spec.name]
        arguments += [upstreams_class(spec, checkpoint), json.dumps(language_of(spec))]
        every: dict[str, list[dict[str, float]]] = {"ours": [], "upstream": []}
        for _ in range(runs + 1):
            for way, program in (("ours", OURS), ("upstream", UPSTREAM)):
                every[way].append(stages_of(program, arguments))
    return {
        way: {stage: statistics.median(run[stage] for run in found[1:]) for stage in found[0]}
        for way, found in every.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start")
    parser.add_argument("--model", choices=tuple(MODELS), default=CHATTERBOX.name)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    with temporary_weights(options.checkpoint, model=options.model) as checkpoint:
        results = measure(MODELS[options.model], checkpoint, options.device, options.runs)
    print(f"{describe(options.device)}; {options.model}; {options.runs} runs; seconds since its start")
    print(f"{'':40} {'ours':>8} {'upstream':>9} {'ratio':>6}")
    for stage, ours in results["ours"].items():
        line = f"{stage:40} {ours:8.2f}"
        if theirs := results["upstream"].get(stage):
            line += f" {theirs:9.2f} {theirs / ours:6.1f}"
        print(line)
    keep(options.json, options.device, model=options.model, seconds=results)


if __name__ == "__main__":
    main()
