"""Seconds of audio for a second of work with several jobs at once, beside upstream, and what it costs.

    python -m benchmarks.throughput [--checkpoint DIR] [--model NAME] [--device cpu|cuda] [--jobs 1,8,32]
                                    [--texts 3] [--runs N] [--price-per-hour 0.69] [--json FILE]

So many threads take the next text from a common list as soon as they are done with one; --texts says how many
there are for each. Upstream speaks so many texts one after the other, which is all that it can do. The
numbers of jobs and upstream take turns in each run; medians, watermark included. The cost of an hour of audio
is that of a worker that is never idle, in the currency of the price.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch

from benchmarks.latency import listen
from benchmarks.machine import describe, keep, results_file
from benchmarks.ours import load_for_most
from benchmarks.sentences import replies
from benchmarks.upstream import speaker
from benchmarks.weights import add_model, temporary_weights
from errors import OutOfMemory
from speech.contract import Conditionals
from speech.models.spec import MODELS
from speech.pipeline import ChatterboxSynthesizer


def measure(
    synthesizer: ChatterboxSynthesizer,
    voice: Conditionals,
    upstream: Callable[[str], float],
    jobs: Sequence[int],
    texts: int,
    runs: int,
) -> list[dict[str, Any]]:
    """Returns a row for each number of jobs at once, and one of upstream. texts: of each job.

    upstream: speaks a text and returns the seconds of its audio.
    """
    speak = partial(listen, synthesizer, voice, "whole")
    with ExitStack() as stack:
        # A worker's threads stay; new ones for each run would pay for what libraries keep by thread.
        pools = {count: stack.enter_context(ThreadPoolExecutor(count)) for count in jobs}
        sides: dict[tuple[str, int], Callable[[], float]] = {
            ("ours", count): lambda pool=pool, count=count: sum(  # type: ignore[misc]
                stream.audio_s for stream in pool.map(speak, range(texts * count))
            )
            for count, pool in pools.items()
        }
        sides["upstream", 1] = lambda: sum(map(upstream, islice(cycle(replies()), texts)))
        runs_s: dict[tuple[str, int], list[tuple[float, float]]] = {side: [] for side in sides}
        for run in range(runs + 1):
            for side in list(runs_s):
                started = time.perf_counter()
                try:
                    audio_s = sides[side]()
                except OutOfMemory:
                    print(f"{side[1]} at once: left out, they do not fit the memory")
                    del runs_s[side]
                else:
                    # The first run warms up: no shape of what is measured is new.
                    runs_s[side] += [(time.perf_counter() - started, audio_s)] * (run > 0)
    return [row(*side, *map(statistics.median, zip(*each, strict=True))) for side, each in runs_s.items()]


def row(side: str, jobs: int, took_s: float, audio_s: float) -> dict[str, Any]:
    return {
        "side": side,
        "jobs": jobs,
        "seconds": took_s,
        "audio_s": audio_s,
        "audio_s_per_s": audio_s / took_s,
    }


def cost_of_an_hour(audio_s_per_s: float, price_per_hour: float) -> float:
    """Returns the price of the machine for the time in which it speaks an hour of audio."""
    return price_per_hour / audio_s_per_s


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    add_model(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--jobs", type=lambda text: [int(count) for count in text.split(",")], help="such as 1,8,32"
    )
    parser.add_argument("--texts", type=int, default=len(replies()) // 4, help="of each job")
    parser.add_argument("--runs", type=int, help="5 without it, 2 on a CPU")
    parser.add_argument("--price-per-hour", type=float, help="of the machine, in any currency")
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    options.runs = options.runs or (5 if on_gpu else 2)
    jobs = options.jobs or ([1, 8, 32] if on_gpu else [1, 2])
    with temporary_weights(options.checkpoint, model=options.model) as checkpoint:
        synthesizer, voice, jobs = load_for_most(checkpoint, options.device, jobs, options.model)
        with closing(synthesizer), speaker(checkpoint, options.device, MODELS[options.model]) as upstream:
            rows = measure(synthesizer, voice, upstream, jobs, options.texts, options.runs)
    print(f"{options.model}; {describe(options.device)}; medians of {options.runs} runs")
    print(
        f"{'':8} {'jobs':>4} {'seconds':>8} {'audio, s':>9} {'audio/s':>8}"
        + f"{'  an hour costs':>15}" * bool(options.price_per_hour)
    )
    for row in rows:
        figures = (row[name] for name in ("seconds", "audio_s", "audio_s_per_s"))
        line = f"{row['side']:8} {row['jobs']:4} " + "{:8.2f} {:9.2f} {:8.2f}".format(*figures)
        if options.price_per_hour:
            row["cost_of_an_hour"] = cost_of_an_hour(row["audio_s_per_s"], options.price_per_hour)
            line += f"{row['cost_of_an_hour']:15.4f}"
        print(line)
    facts = {"model": options.model, "price_per_hour": options.price_per_hour}
    keep(options.json, options.device, **facts, rows=rows)


if __name__ == "__main__":
    main()
