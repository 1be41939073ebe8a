"""Milliseconds a token of T3: our running batch beside upstream's loop, on the same weights.

    python -m benchmarks.decode [--checkpoint DIR] [--device cpu|cuda] [--steps N] [--batches 1,8] [--json F]

The stop token is suppressed, so that all run equally long. GB/s is what the weights weigh for each step: what
the memory delivers at least. Upstream runs requests one after the other. Without --checkpoint a full-size
untrained one is written first, 3.2 GB.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from speech.checkpoint import Model, load_model
from speech.conditionals import some_voice
from speech.decoders import STEPS_A_POLL, t3_dtype
from speech.locate import Checkpoint
from speech.t3.linear import pack
from speech.t3.weights import T3Weights
from speech.variants import CHATTERBOX
from torch import Tensor

from benchmarks.machine import describe, keep
from benchmarks.weights import some_weights
from speech.t3.batch import Member, RunningBatch
from speech.t3.request import START_SPEECH, STOP_SPEECH, Decoded, Decoder, DecodeRequest
from speech.t3.sampling import Sampling
from speech.upstream import upstream_decoder

TEXT = "The harbour was quiet, and the boats lay still on the water while the town behind them woke up."
SAMPLING = Sampling(cfg_weight=0.5, temperature=0.8, top_p=1.0, min_p=0.05, repetition_penalty=1.2)
WARM_UP_STEPS = 5


def request(model: Model, seed: int, steps: int) -> DecodeRequest:
    voice = some_voice(model.device)
    return DecodeRequest(
        voice.speaker_embedding,
        voice.t3_prompt_tokens,
        0.5,
        model.tokenizer.encode(TEXT),
        SAMPLING,
        steps,
        seed,
    )


def wait(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def upstream_without_stop(checkpoint: Checkpoint, device: torch.device) -> tuple[Model, Decoder]:
    model = load_model(CHATTERBOX, checkpoint, device, upstream=True)
    head: Tensor = model.t3.speech_head.weight  # type: ignore[union-attr]
    with torch.no_grad():
        head[STOP_SPEECH] = head[START_SPEECH]
    return model, upstream_decoder(model.t3)


@dataclass(frozen=True)
class Round:
    """step_s: a step of the whole batch, without reading the text. reading_s: until the first text is read.
    tokens: of seed 0."""

    step_s: float
    reading_s: float
    tokens: list[int]


def upstreams(model: Model, decoder: Decoder, steps: int) -> Round:
    def run(count: int) -> tuple[float, list[int]]:
        started = wait(model.device)
        (decoded,) = decoder.decode([request(model, 0, count)])
        return wait(model.device) - started, decoded.tokens.tolist()

    reading_s, _ = run(1)
    long_s, tokens = run(steps)
    return Round((long_s - reading_s) / (steps - 1), reading_s, tokens)


def ours(batch: RunningBatch, model: Model, size: int, poll_every: int, steps: int) -> Round:
    started = wait(model.device)
    batch.join(request(model, 0, steps))
    reading_s = wait(model.device) - started
    for seed in range(1, size):
        batch.join(request(model, seed, steps))
    found: dict[Member, Decoded] = {}
    for _ in range(-(-WARM_UP_STEPS // poll_every)):
        found |= batch.advance()
    polls, started = 0, wait(model.device)
    while batch.members:
        found |= batch.advance()
        polls += 1
    step_s = (wait(model.device) - started) / (polls * poll_every)
    tokens = next(done.tokens.tolist() for member, done in found.items() if member.request.seed == 0)
    return Round(step_s, reading_s, tokens)


def memory_speed(device: torch.device) -> float:
    """GB/s at which something larger than any cache is read."""
    block = torch.zeros(2**28, device=device)
    block.sum()
    started = wait(device)
    block.sum()
    return block.nbytes / (wait(device) - started) / 1e9


def weights_of(
    checkpoint: Checkpoint, device: torch.device, precision: str
) -> tuple[Model, T3Weights, float]:
    """The stop token suppressed; and how many GB a step reads."""
    model = load_model(CHATTERBOX, checkpoint, device, t3_dtype=t3_dtype(device, precision))
    head = model.t3.head.to_dense() if model.t3.head.is_mkldnn else model.t3.head
    head = head.clone()
    head[STOP_SPEECH] = head[START_SPEECH]
    weights = replace(model.t3, head=pack(head))
    matrices = [
        matrix for layer in weights.layers for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down)
    ]
    values = sum(matrix.shape.numel() for matrix in (*matrices, head))
    return model, weights, values * weights.dtype.itemsize / 1e9


@dataclass(frozen=True)
class Way:
    """gigabytes: of weights that a step reads. run: decodes so many steps once."""

    name: str
    dtype: str
    batch: int
    gigabytes: float
    run: Callable[[int], Round]


def measure(
    checkpoint: Checkpoint, device: torch.device, steps: int, batches: list[int], rounds: int
) -> tuple[float, list[dict[str, Any]]]:
    """How fast the memory is, and a row for each way. They take turns, so that all meet the same machine."""
    poll_every = STEPS_A_POLL if device.type == "cuda" else 1
    model, decoder = upstream_without_stop(checkpoint, device)
    ways = [Way("upstream", "float32", 1, 0.0, partial(upstreams, model, decoder))]
    for precision in ("exact", "auto"):
        own, weights, gigabytes = weights_of(checkpoint, device, precision)
        for size in batches:
            batch = RunningBatch(weights, 2 * size, poll_every=poll_every, graphs=device.type == "cuda")
            dtype = str(weights.dtype).removeprefix("torch.")
            run = partial(ours, batch, own, size, poll_every)
            ways.append(Way(f"ours, {precision}", dtype, size, gigabytes, run))
    for way in ways:
        way.run(WARM_UP_STEPS + 2 * poll_every)
    taken: list[list[Round]] = [[] for _ in ways]
    speeds = []
    for _ in range(rounds):
        speeds.append(memory_speed(device))
        for way, done in zip(ways, taken, strict=True):
            done.append(way.run(steps))
    rows = [row(way, done, taken[0]) for way, done in zip(ways, taken, strict=True)]
    return statistics.median(speeds), rows


def row(way: Way, rounds: list[Round], upstreams_rounds: list[Round]) -> dict[str, Any]:
    step_s, upstreams_s = (
        statistics.median(one.step_s for one in each) for each in (rounds, upstreams_rounds)
    )
    return {
        "way": way.name,
        "dtype": way.dtype,
        "batch": way.batch,
        "ms_a_step": 1e3 * step_s,
        "fastest_ms": 1e3 * min(one.step_s for one in rounds),
        "slowest_ms": 1e3 * max(one.step_s for one in rounds),
        "ratio": way.batch * upstreams_s / step_s,
        "gb_per_s": way.gigabytes / step_s,
        "text_read_ms": 1e3 * statistics.median(one.reading_s for one in rounds),
        "tokens_as_upstreams": count_equal(rounds[0].tokens, upstreams_rounds[0].tokens),
    }


def count_equal(tokens: list[int], expected: list[int]) -> int:
    """How many are equal before the first that is not."""
    pairs = zip(tokens, expected, strict=True)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), len(expected))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=200, help="8 s of speech")
    parser.add_argument("--batches", type=lambda text: [int(size) for size in text.split(",")])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # upstream's
    batches = options.batches or ([1, 8, 32] if options.device.startswith("cuda") else [1, 8])
    device = torch.device(options.device)
    with some_weights(options.checkpoint) as folder:
        checkpoint = Checkpoint(folder, None, chosen_by_name=True)
        speed, rows = measure(checkpoint, device, options.steps, batches, options.rounds)
    print(f"{describe(options.device)}; {options.steps} tokens; medians of {options.rounds} rounds in turn")
    print(f"memory that is just read: {speed:.0f} GB/s")
    print(
        "way            dtype    batch   ms/step (from - to)  tokens/s to upstream's  GB/s  "
        "text read, ms  as upstream's"
    )
    for row in rows:
        reach = f"({row['fastest_ms']:.1f} - {row['slowest_ms']:.1f})"
        print(
            f"{row['way']:14} {row['dtype']:8} {row['batch']:5} {row['ms_a_step']:7.1f} {reach:>13} "
            f"{row['ratio']:22.1f} {row['gb_per_s']:5.1f} {row['text_read_ms']:14.0f} "
            f"{row['tokens_as_upstreams']:5} tokens"
        )
    keep(options.json, options.device, steps=options.steps, memory_gb_per_s=speed, rows=rows)


if __name__ == "__main__":
    main()
