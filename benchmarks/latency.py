"""Time to first audio, and silence between pieces, of streams that begin at random; both hop policies.

    python -m benchmarks.latency [--checkpoint DIR] [--model NAME] [--device cpu|cuda] [--rate HZ]
                                 [--streams 1,4,8,16,32] [--requests N] [--runs N] [--json FILE]

A stream is open from the call of ``synthesize`` until its audio is played. Requests arrive as a Poisson
process, so many a second that the streams named are open on average when nobody waits; with --rate, so many
as it says, whatever that means for the streams. Each speaks one of twelve texts in a known voice and marks
every piece with the watermark, as the tts operation does.

The first audio is timed to the first samples on the host, and to the first marked ones. A listener plays a
piece as soon as it is marked and the ones before are over; the silence until the next one, when that comes
too late, is the stall. Upstream, which gives whole texts one after the other, speaks with nobody beside it;
its first audio is all of a text's. Policies take turns in each run and get the same arrivals. Requests that
come while the streams are still becoming that many are not counted. Percentiles are those of all runs
together.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.machine import describe, keep, results_file
from benchmarks.ours import load_for_most
from benchmarks.sentences import replies
from benchmarks.upstream import speaker
from benchmarks.weights import add_model, temporary_weights
from cancel import CancelToken
from errors import OutOfMemory
from speech.contract import AudioChunk, Conditionals, Hop, Utterance
from speech.models.spec import MODELS
from speech.pipeline import ChatterboxSynthesizer

HOPS: tuple[Hop, ...] = get_args(Hop)
AUDIBLE_S = 1e-3  # shorter stalls are not counted as any
REQUESTS_PER_STREAM, LEAST_REQUESTS = 3, 12  # that are counted in a run


@dataclass(frozen=True)
class Piece:
    """Audio as its listener gets it."""

    ready_s: float  # when its samples were on the host, from the call of ``synthesize``
    marked_s: float  # when they had the watermark
    duration_s: float


@dataclass(frozen=True)
class Stream:
    """What one listener got, piece by piece."""

    pieces: Sequence[Piece]

    @property
    def audio_s(self) -> float:
        return sum(piece.duration_s for piece in self.pieces)

    @property
    def stall_s(self) -> float:
        """Seconds of silence before pieces that came after the ones before them were played."""
        stall_s, played_s = 0.0, self.pieces[0].marked_s
        for piece in self.pieces:
            stall_s += max(0.0, piece.marked_s - played_s)
            played_s = max(played_s, piece.marked_s) + piece.duration_s
        return stall_s

    @property
    def open_s(self) -> float:
        """Seconds from the call until the last piece is played."""
        return self.pieces[0].marked_s + self.audio_s + self.stall_s


Listen = Callable[[int], Stream]  # a request's number


def listen(synthesizer: ChatterboxSynthesizer, voice: Conditionals, hop: Hop, number: int) -> Stream:
    """Speaks the text of a request. The same number gives the same text and seed."""
    texts, pieces = replies(), []
    language = synthesizer.info.spec.default_language
    utterance = Utterance(texts[number % len(texts)], voice, seed=number, language=language)
    started = time.perf_counter()
    ready_s = 0.0

    def timed(chunks: Iterator[AudioChunk]) -> Iterator[AudioChunk]:
        nonlocal ready_s
        for chunk in chunks:
            ready_s = time.perf_counter() - started
            yield chunk

    for chunk in synthesizer.watermark(timed(synthesizer.synthesize([utterance], CancelToken(), hop=hop))):
        if chunk.duration_s:
            pieces.append(Piece(ready_s, time.perf_counter() - started, chunk.duration_s))
    return Stream(pieces)


def serve(
    listen: Listen, requests: int, rate_hz: float, draws: random.Random, threads: ThreadPoolExecutor
) -> list[Stream]:
    """Sends requests as a Poisson process, whoever still waits. Returns once all are spoken."""
    sent, due_s = [], time.perf_counter()
    for number in range(requests):
        time.sleep(max(0.0, due_s - time.perf_counter()))
        sent.append(threads.submit(listen, number))
        due_s += draws.expovariate(rate_hz)
    wait(sent)
    return [request.result() for request in sent]


@dataclass(frozen=True)
class Load:
    """How many requests come, and how often."""

    streams: float  # open on average when nobody waits
    rate_hz: float
    warm_up: int  # requests before those that are counted
    requests: int  # that are counted


def load_of(streams: float, rate_hz: float, requests: int | None) -> Load:
    """Plans a load. requests: to be counted; None for as many as the streams need."""
    counted = requests or max(LEAST_REQUESTS, math.ceil(REQUESTS_PER_STREAM * streams))
    return Load(streams, rate_hz, warm_up=math.ceil(streams), requests=counted)


def measure(
    synthesizer: ChatterboxSynthesizer,
    voice: Conditionals,
    upstream: Callable[[str], float],
    streams: list[int],
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """Yields the figures so far, again and again: whoever stops it early has some.

    They are "rows", one for each load and policy, and "upstream_s", upstream's time for a text with nobody
    beside it. upstream: speaks a text and returns the seconds of its audio.
    """
    listeners: dict[Hop, Listen] = {hop: partial(listen, synthesizer, voice, hop) for hop in HOPS}
    numbers = range(min(len(replies()), options.requests or LEAST_REQUESTS))
    with ThreadPoolExecutor(max_workers=1024) as threads:  # made when needed, and kept as a worker's are
        alone = [listeners["whole"](number) for number in numbers]
        mean_audio_s = statistics.mean(stream.audio_s for stream in alone)
        for hop in HOPS:  # on a GPU, plans and graphs of usual shapes come before what is measured
            list(threads.map(listeners[hop], numbers if options.device.startswith("cuda") else numbers[:1]))
        rates_hz = options.rate or [count / mean_audio_s for count in streams]
        loads = [load_of(rate_hz * mean_audio_s, rate_hz, options.requests) for rate_hz in rates_hz]
        served: dict[tuple[Load, Hop], list[Stream]] = {(load, hop): [] for load in loads for hop in HOPS}
        upstream(replies()[0])
        upstream_s: list[float] = []
        for run in range(options.runs):
            started = time.perf_counter()
            upstream(replies()[run % len(replies())])
            upstream_s.append(time.perf_counter() - started)
            for load, hop in list(served):
                draws, count = random.Random(run), load.warm_up + load.requests  # noqa: S311
                try:
                    answers = serve(listeners[hop], count, load.rate_hz, draws, threads)
                except OutOfMemory:
                    print(f"{load.streams:g} streams, {hop}: left out, they do not fit the memory")
                    del served[load, hop]
                else:
                    served[load, hop] += answers[load.warm_up :]
                    rows = [row(*which, answers) for which, answers in served.items() if answers]
                    yield {"rows": rows, "upstream_s": percentiles(upstream_s)}


def row(load: Load, hop: Hop, served: Sequence[Stream]) -> dict[str, Any]:
    return {
        "streams": round(load.streams, 2),
        "hop": hop,
        "rate_hz": load.rate_hz,
        "requests": len(served),
        "mean_open": load.rate_hz * statistics.mean(stream.open_s for stream in served),  # Little's law
        "first_audio_s": percentiles([stream.pieces[0].ready_s for stream in served]),
        "first_marked_s": percentiles([stream.pieces[0].marked_s for stream in served]),
        "stall_s": percentiles([stream.stall_s for stream in served]),
        "stalled": sum(stream.stall_s > AUDIBLE_S for stream in served) / len(served),
    }


def percentiles(values: Sequence[float], percents: Sequence[int] = (50, 95)) -> dict[str, float]:
    return {f"p{percent}": float(np.percentile(values, percent)) for percent in percents}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency")
    add_model(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--streams", type=lambda text: [int(count) for count in text.split(",")], help="such as 1,8,32"
    )
    parser.add_argument(
        "--rate", type=lambda text: [float(rate) for rate in text.split(",")], help="requests a second"
    )
    parser.add_argument(
        "--requests", type=int, help="counted in a run; without it 3 for each stream, 12 at least"
    )
    parser.add_argument("--runs", type=int, help="5 without it, 2 on a CPU")
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    options.runs = options.runs or (5 if on_gpu else 2)
    streams = options.streams or ([1, 4, 8, 16, 32] if on_gpu else [1, 2])
    with temporary_weights(options.checkpoint, model=options.model) as checkpoint:
        synthesizer, voice, streams = load_for_most(checkpoint, options.device, streams, options.model)
        figures: dict[str, Any] = {}
        with closing(synthesizer), speaker(checkpoint, options.device, MODELS[options.model]) as upstream:
            for figures in measure(synthesizer, voice, upstream, streams, options):
                keep(options.json, options.device, model=options.model, runs=options.runs, **figures)
    print(f"{options.model}; {describe(options.device)}; {options.runs} runs; seconds, p50 and p95")
    print(
        f"{'streams':>7} {'hop':6} {'rate/s':>6} {'count':>5} {'open':>5} "
        f"{'first audio':>13} {'first marked':>13} {'stall':>13} {'stalled':>7}"
    )
    for row in figures["rows"]:
        times = (row[name] for name in ("first_audio_s", "first_marked_s", "stall_s"))
        print(
            f"{row['streams']:7.1f} {row['hop']:6} {row['rate_hz']:6.2f} {row['requests']:5} "
            f"{row['mean_open']:5.1f} "
            + " ".join(f"{time_s['p50']:6.3f} {time_s['p95']:6.3f}" for time_s in times)
            + f" {row['stalled']:7.0%}"
        )
    print("upstream, a text with nobody beside it: {p50:.3f} {p95:.3f}".format_map(figures["upstream_s"]))


if __name__ == "__main__":
    main()
