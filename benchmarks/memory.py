"""How much memory a long text takes beyond its audio, and whether jobs leave any behind.

    python -m benchmarks.memory [--checkpoint DIR] [--jobs 200]

Prints the process's peak after texts of growing length, then its resident size over many jobs.
"""

from __future__ import annotations

import argparse
import gc
import resource
import tempfile
from pathlib import Path

from speech.contract import SpeechParams
from speech.engine import load_engine
from speech.smoke import write_smoke_checkpoint

SENTENCE = "The harbour was quiet, and the boats lay still on the water. "
TEXT_LENGTHS = (300, 1_000, 2_500, 5_000)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--jobs", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = options.checkpoint or Path(temporary)
        if options.checkpoint is None:
            write_smoke_checkpoint(checkpoint)
        engine = load_engine("chatterbox", checkpoint_dir=checkpoint, device="cpu")
    engine.warm_up()
    print("characters   audio, s   audio, MB   peak, MB")
    for length in TEXT_LENGTHS:
        text = (SENTENCE * (length // len(SENTENCE) + 1))[:length]
        speech = engine.speak(text, None, SpeechParams(seed=1))
        audio_mb = speech.waveform.samples.nbytes / 1e6
        print(
            f"{length:10} {speech.waveform.duration_s:10.1f} {audio_mb:11.1f} {peak_mb():10.0f}", flush=True
        )
        del speech
    for job in range(options.jobs + 1):
        if job % (options.jobs // 4) == 0:
            gc.collect()
            print(f"resident after {job:4} jobs: {resident_mb():.0f} MB", flush=True)
        engine.speak(SENTENCE, None, SpeechParams(seed=job))


if __name__ == "__main__":
    main()
