"""How long a job takes that is refused: nobody should wait, or pay, for a mistake.

    python -m benchmarks.refusals [--times 50] [--json FILE]

Through the worker's whole way of a job, around a speaker without a model: none of these gets as far as
speaking.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from audio.encode import encode
from audio.waveform import MODEL_SAMPLE_RATE_HZ, Waveform
from benchmarks.machine import describe, keep, results_file
from operations import warm_up
from tests.fakes import build_worker

MINUTE_OF_SILENCE = Waveform(np.zeros(60 * MODEL_SAMPLE_RATE_HZ, np.float32), MODEL_SAMPLE_RATE_HZ)


def clone(recording: bytes) -> dict[str, Any]:
    return {
        "operation": "clone_voice",
        "voice_name": "Ada",
        "reference_audio": base64.b64encode(recording).decode(),
    }


JOBS: dict[str, Any] = {
    "not an object": "tts",
    "an empty object": {},
    "an unknown operation": {"operation": "sing"},
    "no text": {"operation": "tts"},
    "a blank text": {"operation": "tts", "text": "   "},
    "a text of a million characters": {"operation": "tts", "text": "a" * 1_000_000},
    "every field wrong": {
        "operation": "tts",
        "text": 7,
        "seed": -1,
        "format": "doc",
        "sample_rate": 1,
        "temperature": "x",
        "cfg_weight": [],
        "top_p": 2,
    },
    "10,000 unknown fields": {"operation": "tts", "text": "a", **{f"field{n}": n for n in range(10_000)}},
    "5 MB that is no base64": {
        "operation": "clone_voice",
        "voice_name": "Ada",
        "reference_audio": "!" * 5_000_000,
    },
    "5 MB of zeros": clone(bytes(5_000_000)),
    "an m4a that is none": clone(b"\0\0\0\x20ftypM4A " + bytes(10_000)),
    "a minute of silence as FLAC": clone(encode(MINUTE_OF_SILENCE, "flac", 24_000)),
}


async def measure(times: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        worker = build_worker(Path(folder))
        for name, job_input in JOBS.items():
            taken[name] = []
            for _ in range(times):
                started = time.perf_counter()
                reply = await worker.handle({"id": "job", "input": job_input})
                taken[name].append(time.perf_counter() - started)
                assert "error_code" in reply, name
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refusals")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    logging.disable()
    warm_up("en")  # as a worker does when it starts
    taken = asyncio.run(measure(options.times))
    print(describe())
    print("refused                            median, ms   largest, ms")
    for name, times_s in taken.items():
        print(f"{name:34} {1e3 * statistics.median(times_s):10.2f} {1e3 * max(times_s):13.2f}")
    keep(options.json, "cpu", seconds=taken)


if __name__ == "__main__":
    main()
