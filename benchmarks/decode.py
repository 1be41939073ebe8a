"""Milliseconds a token of T3: our running batch beside upstream's loop, on the same weights.

    python -m benchmarks.decode [--checkpoint DIR] [--device cpu|cuda] [--steps N] [--batches 1,8] [--json F]

The stop token is suppressed, so that all run equally long. GB/s is what the weights weigh for each step: what
the memory delivers at least. Upstream runs requests one after the other. Without --checkpoint a full-size
untrained one is written first, 3.2 GB.
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.machine import describe, keep
from benchmarks.weights import some_weights
from speech.checkpoint import Model, load_model
from speech.conditionals import some_voice
from speech.decoders import STEPS_A_POLL, t3_dtype
from speech.locate import Checkpoint
from speech.t3.batch import Member, RunningBatch
from speech.t3.linear import pack
from speech.t3.request import START_SPEECH, STOP_SPEECH, Decoded, Decoder, DecodeRequest
from speech.t3.sampling import Sampling
from speech.t3.weights import T3Weights
from speech.upstream import upstream_decoder
from speech.variants import CHATTERBOX

TEXT = "The harbour was quiet, and the boats lay still on the water while the town behind them woke up."
SAMPLING = Sampling(cfg_weight=0.5, temperature=0.8, top_p=1.0, min_p=0.05, repetition_penalty=1.2)
WARM_UP_STEPS = 5
ROUNDS = 3


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


def upstreams(checkpoint: Checkpoint, device: torch.device, steps: int) -> tuple[float, list[int]]:
    """Seconds a token, the prefix's reading taken off, and the tokens of seed 0."""
    model, decoder = upstream_without_stop(checkpoint, device)

    def run(count: int) -> tuple[float, list[int]]:
        started = wait(device)
        (decoded,) = decoder.decode([request(model, 0, count)])
        return wait(device) - started, decoded.tokens.tolist()

    run(WARM_UP_STEPS)
    rounds = [(run(1)[0], *run(steps)) for _ in range(ROUNDS)]
    return min((long_s - short_s) / (steps - 1) for short_s, long_s, _ in rounds), rounds[0][2]


def ours(weights: T3Weights, model: Model, batch_size: int, steps: int) -> tuple[float, float, list[int]]:
    """Seconds a step, seconds until the first text is read, and the tokens of seed 0."""
    device = model.device
    on_gpu = device.type == "cuda"
    poll_every = STEPS_A_POLL if on_gpu else 1
    batch = RunningBatch(weights, 2 * batch_size, poll_every=poll_every, graphs=on_gpu)
    fastest, reading, tokens = float("inf"), float("inf"), []
    for _ in range(ROUNDS):
        started = wait(device)
        batch.join(request(model, 0, steps))
        reading = min(reading, wait(device) - started)
        for seed in range(1, batch_size):
            batch.join(request(model, seed, steps))
        found: dict[Member, Decoded] = {}
        for _ in range(-(-WARM_UP_STEPS // poll_every)):
            found |= batch.advance()
        polls, started = 0, wait(device)
        while batch.members:
            found |= batch.advance()
            polls += 1
        fastest = min(fastest, (wait(device) - started) / (polls * poll_every))
        tokens = next(done.tokens.tolist() for member, done in found.items() if member.request.seed == 0)
    return fastest, reading, tokens


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


def rows(
    checkpoint: Checkpoint, device: torch.device, steps: int, batches: list[int]
) -> Iterator[dict[str, object]]:
    step_s, expected = upstreams(checkpoint, device, steps)
    gc.collect()
    yield {"way": "upstream", "dtype": "float32", "batch": 1, "ms_a_step": 1e3 * step_s, "ratio": 1.0}
    for precision in ("exact", "auto"):
        model, weights, gigabytes = weights_of(checkpoint, device, precision)
        for size in batches:
            ours_s, reading_s, tokens = ours(weights, model, size, steps)
            equal = next(
                (at for at, pair in enumerate(zip(tokens, expected, strict=True)) if pair[0] != pair[1]),
                steps,
            )
            yield {
                "way": f"ours, {precision}",
                "dtype": str(weights.dtype).removeprefix("torch."),
                "batch": size,
                "ms_a_step": 1e3 * ours_s,
                "ratio": size * step_s / ours_s,
                "gb_per_s": gigabytes / ours_s,
                "text_read_ms": 1e3 * reading_s,
                "tokens_as_upstreams": equal,
            }
        del model, weights
        gc.collect()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batches", type=lambda text: [int(size) for size in text.split(",")])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # upstream's
    batches = options.batches or ([1, 8, 32] if options.device.startswith("cuda") else [1, 8])
    found = []
    with some_weights(options.checkpoint) as folder:
        checkpoint = Checkpoint(folder, None, chosen_by_name=True)
        print(f"{describe(options.device)}; {options.steps} tokens, the fastest of {ROUNDS} rounds")
        print(
            "way            dtype    batch  ms/step  tokens/s to upstream's  GB/s  "
            "text read, ms  tokens as upstream's"
        )
        for row in rows(checkpoint, torch.device(options.device), options.steps, batches):
            found.append(row)
            print(
                f"{row['way']:14} {row['dtype']:8} {row['batch']:5} {row['ms_a_step']:8.1f} "
                f"{row['ratio']:23.1f} {row.get('gb_per_s', 0.0):5.1f} {row.get('text_read_ms', 0.0):14.0f} "
                f"{row.get('tokens_as_upstreams', options.steps):21}",
                flush=True,
            )
    keep(options.json, options.device, steps=options.steps, rows=found)


if __name__ == "__main__":
    main()
