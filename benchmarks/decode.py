"""Milliseconds a token of T3: our running batch beside upstream's loop, on the same weights.

    python -m benchmarks.decode [--checkpoint DIR] [--model NAME] [--device cpu|cuda] [--steps N]
                                [--batches 1,8] [--rounds N] [--json FILE]

Tokens are drawn with the model's default parameters; with guidance a request takes two rows. The stop token
is suppressed, so that all run equally long. GB/s is the weights' size for each step: what the memory delivers
at least. Upstream runs requests one after the other. One batch at a time is in memory; on a GPU a batch that
does not fit is left out. Without --checkpoint a full-size untrained one is written first, 3.2 GB.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe, keep, results_file
from benchmarks.weights import add_model, temporary_weights
from speech.contract import ModelInfo, SamplingParams
from speech.models.gpt2_t3 import Gpt2T3
from speech.models.linear import pack
from speech.models.llama_t3 import LlamaT3
from speech.models.spec import MODELS, ModelSpec
from speech.models.t3 import T3
from speech.pipeline import STEPS_PER_POLL, set_arithmetic, t3_dtype
from speech.reference.conditionals import dummy_voice
from speech.t3.batch import ROWS_WITH_CFG, DecodingSequence, RunningBatch
from speech.t3.request import Decoded, DecodeRequest
from speech.t3.sampling import Sampling
from speech.upstream import UpstreamBatch, load_upstream_model
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model, load_model

TEXT = "The harbour was quiet, and the boats lay still on the water while the town behind them woke up."
WARM_UP_STEPS = 5


def request(model: Model, seed: int, steps: int) -> DecodeRequest:
    voice = dummy_voice(model.spec.conditioning).to(model.device)
    parameters = ModelInfo(model.spec, model.revision).resolve(SamplingParams())
    return DecodeRequest(
        speaker_embedding=voice.speaker_embedding,
        prompt_tokens=voice.t3_prompt_tokens,
        exaggeration=parameters["exaggeration"] or 0.0,
        text_tokens=model.tokenizer.encode(TEXT, model.spec.default_language),
        sampling=Sampling.of(parameters),
        max_tokens=steps,
        seed=seed,
    )


def wait(device: torch.device) -> float:
    """The time when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def rows_of(model: Model) -> int:
    """Returns how many rows of a batch a request takes."""
    return ROWS_WITH_CFG if model.spec.default_parameters.get("cfg_weight") else 1


def load_upstreams(spec: ModelSpec, checkpoint: Checkpoint, device: torch.device) -> Model:
    """Upstream's model, which never stops."""
    model = load_upstream_model(spec, checkpoint, device)
    for part in model.t3.speech_head.parameters():  # type: ignore[union-attr]
        part.data.copy_(never_stopping(part.data, spec))
    return model


def load_ours(spec: ModelSpec, checkpoint: Checkpoint, device: torch.device, precision: str) -> Model:
    """Our model, which never stops."""
    model = load_model(spec, checkpoint, device, t3_dtype(device, precision))
    if isinstance(model.t3, Gpt2T3):
        weight, bias = model.t3.weights.head
        head = (never_stopping(weight, spec), never_stopping(bias, spec))
        return replace(model, t3=Gpt2T3(replace(model.t3.weights, head=head), model.spec))
    assert isinstance(model.t3, LlamaT3)
    weights = model.t3.weights
    return replace(model, t3=LlamaT3(replace(weights, head=never_stopping(weights.head, spec)), model.spec))


def never_stopping(head: Tensor, spec: ModelSpec) -> Tensor:
    """Returns the head's weight or bias, with the stop as likely as the start, which is never drawn."""
    changed = (head.to_dense() if head.is_mkldnn else head).clone()
    changed[spec.tokens.stop_speech] = changed[spec.tokens.start_speech]
    return pack(changed) if head.is_mkldnn else changed


def gigabytes_a_step(t3: T3) -> float:
    """Of matrices that a step reads."""
    if isinstance(t3, Gpt2T3):
        gpt2 = t3.weights
        affines = [affine for each in gpt2.layers for affine in (each.qkv, each.out, each.up, each.down)]
        matrices, dtype = [weight for weight, _ in (*affines, gpt2.head)], gpt2.positions.dtype
    else:
        assert isinstance(t3, LlamaT3)
        llama = t3.weights
        matrices = [
            matrix for each in llama.layers for matrix in (each.qkv, each.out, each.gate_up, each.down)
        ]
        matrices, dtype = [*matrices, llama.head], llama.dtype
    return sum(matrix.shape.numel() for matrix in matrices) * dtype.itemsize / 1e9


@dataclass(frozen=True)
class Round:
    """One measurement of one way."""

    step_s: float  # seconds of a step of the whole batch, without reading the text
    reading_s: float  # seconds until the first text is read
    tokens: list[int]  # of seed 0


def run_upstreams(model: Model, steps: int) -> Round:
    batch = UpstreamBatch(model.t3, model.spec)

    def run(count: int) -> tuple[float, list[int]]:
        started = wait(model.device)
        batch.add(request(model, 0, count))
        (decoded,) = batch.step_many().values()
        return wait(model.device) - started, decoded.tokens.tolist()

    reading_s, _ = run(1)
    long_s, tokens = run(steps)
    return Round((long_s - reading_s) / (steps - 1), reading_s, tokens)


def run_ours(model: Model, size: int, steps: int) -> Round:
    """Decodes with a batch of its own, whose memory is free afterwards."""
    on_gpu = model.device.type == "cuda"
    poll_every = STEPS_PER_POLL if on_gpu else 1
    batch = RunningBatch(model.t3, rows_of(model) * size, poll_every=poll_every, graphs=on_gpu)
    # On a GPU each shape of a step is a graph, captured when it first comes.
    decode_batch(batch, model, size, poll_every, steps if on_gpu else WARM_UP_STEPS + 2)
    return decode_batch(batch, model, size, poll_every, steps)


def decode_batch(batch: RunningBatch, model: Model, size: int, poll_every: int, steps: int) -> Round:
    started = wait(model.device)
    batch.add(request(model, 0, steps))
    reading_s = wait(model.device) - started
    for seed in range(1, size):
        batch.add(request(model, seed, steps))
    found: dict[DecodingSequence, Decoded] = {}
    for _ in range(-(-WARM_UP_STEPS // poll_every)):
        found |= batch.step_many()
    polls, started = 0, wait(model.device)
    while batch.sequences:
        found |= batch.step_many()
        polls += 1
    step_s = (wait(model.device) - started) / max(polls * poll_every, 1)
    tokens = next(done.tokens.tolist() for sequence, done in found.items() if sequence.request.seed == 0)
    return Round(step_s, reading_s, tokens)


def memory_speed(device: torch.device) -> float:
    """GB/s at which something larger than any cache is read."""
    block = torch.zeros(2**28, device=device)
    block.sum()
    started = wait(device)
    block.sum()
    return block.nbytes / (wait(device) - started) / 1e9


@dataclass(frozen=True)
class Way:
    """A way to decode, at one batch size."""

    name: str
    dtype: str
    batch: int
    gigabytes: float  # of weights that a step reads
    run: Callable[[int], Round]  # decodes so many steps once


def measure(
    spec: ModelSpec,
    checkpoint: Checkpoint,
    device: torch.device,
    steps: int,
    batches: list[int],
    rounds: int,
) -> tuple[float, list[dict[str, Any]]]:
    """Returns the memory's speed, and a row for each way.

    The ways take turns, so that all meet the same machine.
    """
    set_arithmetic("exact")  # T3's products are in float32 or bfloat16, never in TF32
    upstreams = load_upstreams(spec, checkpoint, device)
    ways = [Way("upstream", "float32", 1, 0.0, partial(run_upstreams, upstreams))]
    for precision in ("exact", "auto"):
        model = load_ours(spec, checkpoint, device, precision)
        dtype = str(t3_dtype(device, precision)).removeprefix("torch.")
        for size in batches:
            run = partial(run_ours, model, size)
            ways.append(Way(f"ours, {precision}", dtype, size, gigabytes_a_step(model.t3), run))
    ways = [way for way in ways if fits(way)]
    taken: list[list[Round]] = [[] for _ in ways]
    speeds = []
    for _ in range(rounds):
        speeds.append(memory_speed(device))
        for way, done in zip(ways, taken, strict=True):
            done.append(way.run(steps))
            empty_cache(device)
    rows = [row(way, done, taken[0]) for way, done in zip(ways, taken, strict=True)]
    return statistics.median(speeds), rows


def fits(way: Way) -> bool:
    """Runs a way once, as a warm-up; says so and returns False when the GPU's memory does not suffice."""
    try:
        way.run(WARM_UP_STEPS + 2 * STEPS_PER_POLL)
    except torch.OutOfMemoryError:
        print(f"{way.name}, {way.batch} at once: left out, it does not fit the GPU's memory")
        return False
    return True


def empty_cache(device: torch.device) -> None:
    """Gives freed memory back, so that the next batch finds it in one piece."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


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
    add_model(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=200, help="8 s of speech")
    parser.add_argument("--batches", type=lambda text: [int(size) for size in text.split(",")])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # upstream's
    batches = options.batches or ([1, 8, 32] if options.device.startswith("cuda") else [1, 8])
    device = torch.device(options.device)
    with temporary_weights(options.checkpoint, model=options.model) as folder:
        checkpoint = Checkpoint(folder, None, may_be_unpublished=True)
        spec = MODELS[options.model]
        speed, rows = measure(spec, checkpoint, device, options.steps, batches, options.rounds)
    print(f"{options.model}; {describe(options.device)}")
    print(f"{options.steps} tokens; medians of {options.rounds} rounds in turn")
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
    facts = {"model": options.model, "steps": options.steps, "memory_gb_per_s": speed}
    keep(options.json, options.device, **facts, rows=rows)


if __name__ == "__main__":
    main()
