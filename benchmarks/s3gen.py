"""S3Gen: milliseconds for a chunk, alone and in batches, beside upstream's; and the error of bfloat16.

    python -m benchmarks.s3gen [--checkpoint DIR] [--model NAME] [--device cpu|cuda] [--tokens 25,125,250]
                               [--batches 1,4] [--runs 5] [--json FILE]

The prompt has ten seconds, as that of a voice cloned from a long recording. "exact" is float32 throughout,
"auto" what the device gets by default: the flow in bfloat16 where it computes in it, all chunks in one call.
Upstream renders one chunk in a call. All take turns; each figure is the median of the runs, for a chunk. The
error is that of auto's mel spectrogram beside that of exact, relative to its norm. The model says which flow
and which of the checkpoint's files it is. Weights are random where no checkpoint is named.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe, keep, results_file
from benchmarks.weights import add_model
from speech.models.dimensions import FULL
from speech.models.spec import CHATTERBOX, CODEBOOK_SIZE, MODELS, ModelSpec
from speech.pipeline import set_arithmetic, t3_dtype
from speech.reference.conditionals import dummy_voice
from speech.s3gen.packed import PackedS3Gen
from speech.s3gen.s3gen import Renderer, RenderRequest, S3Gen
from speech.s3gen.weights import prepare
from speech.smoke import untrained_s3gen
from speech.upstream import COMPUTED_BUFFERS, UpstreamS3Gen, build_s3gen, quiet_upstream, without_storage
from speech.weights.checkpoint import Checkpoint
from speech.weights.files import S3GEN_PREFIXES
from speech.weights.load import read_config
from speech.weights.modules import assign_weights


def load_upstreams(checkpoint: Path | None, spec: ModelSpec, device: torch.device) -> Any:
    """Returns upstream's ``S3Gen``. Raises ModelUnavailable for a checkpoint without that of the model."""
    quiet_upstream()
    if checkpoint is None:
        torch.manual_seed(0)
        return untrained_s3gen(FULL, spec.flow).to(device).eval()
    with without_storage():
        s3gen = build_s3gen(read_config(checkpoint).dimensions, spec.flow)
    file = Checkpoint(checkpoint, None).file(spec.files.s3gen)
    assign_weights(s3gen, file, device, may_lack=COMPUTED_BUFFERS, may_exceed=True)
    return s3gen


def make_requests(tokens: int, count: int, device: torch.device) -> list[RenderRequest]:
    draw = torch.Generator().manual_seed(tokens)
    voice = dummy_voice(CHATTERBOX.conditioning).to(device)  # S3Gen's prompt is as long in every model
    return [
        RenderRequest(
            torch.randint(CODEBOOK_SIZE, (tokens,), generator=draw).to(device),
            voice,
            torch.Generator(device).manual_seed(number),
        )
        for number in range(count)
    ]


def time_ms(renderer: Renderer, tokens: int, count: int, device: torch.device) -> float:
    """Returns the milliseconds that a chunk takes of a call for so many."""
    requests = make_requests(tokens, count, device)
    started = time.perf_counter()
    for samples in renderer.render(requests):
        samples.cpu()
    return 1e3 * (time.perf_counter() - started) / count


def measure(
    renderers: dict[str, Renderer], tokens: int, count: int, device: torch.device, runs: int
) -> dict[str, float]:
    """Returns the median milliseconds a chunk of each, which take turns."""
    for renderer in renderers.values():  # plans, graphs and oneDNN's kernels for the shape
        time_ms(renderer, tokens, count, device)
    times_ms: dict[str, list[float]] = {name: [] for name in renderers}
    for _ in range(runs):
        for name, renderer in renderers.items():
            times_ms[name].append(time_ms(renderer, tokens, count, device))
    return {name: statistics.median(times) for name, times in times_ms.items()}


def mel_error(exact: S3Gen, auto: PackedS3Gen, tokens: int, device: torch.device) -> float:
    """Returns the difference between the mels of a chunk, relative to their norm."""
    found, expected = (each.mel(make_requests(tokens, 1, device)[0]) for each in (auto, exact))
    return float((found - expected).norm() / expected.norm())


def main() -> None:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser = argparse.ArgumentParser(prog="python -m benchmarks.s3gen")
    add_model(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tokens", type=numbers, default=[25, 125, 250])
    parser.add_argument("--batches", type=numbers, default=[1, 4])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    device, spec = torch.device(options.device), MODELS[options.model]
    flow = spec.flow
    set_arithmetic("auto")
    upstream = load_upstreams(options.checkpoint, spec, device)
    state = upstream.state_dict()
    view = prepare({name: state[name] for name in state if name.startswith(S3GEN_PREFIXES)})
    exact = S3Gen(view, flow)
    renderers: dict[str, Renderer] = {"upstream": UpstreamS3Gen(upstream), "exact": exact}
    error = None
    if t3_dtype(device, "auto") == torch.bfloat16:
        on_gpu = device.type == "cuda"
        renderers["auto"] = auto = PackedS3Gen(view, flow, graphs=on_gpu, in_batches=on_gpu)
        error = mel_error(exact, auto, max(options.tokens), device)
    rows: list[dict[str, Any]] = []
    print(f"{describe(options.device)}; {torch.get_num_threads()} threads; {options.runs} runs; ms a chunk")
    for count in options.batches:
        sides = {name: each for name, each in renderers.items() if count == 1 or name != "upstream"}
        for tokens in options.tokens:
            times_ms = measure(sides, tokens, count, device, options.runs)
            rows.append({"tokens": tokens, "batch": count, "ms": times_ms})
            figures = ", ".join(f"{name} {time_ms:.0f}" for name, time_ms in times_ms.items())
            print(f"{tokens:4} tokens, {count} at once: {figures}")
            name = "meanflow" if flow.is_meanflow else "standard"
            facts = {"model": spec.name, "flow": name, "runs": options.runs, "rows": rows, "mel_error": error}
            keep(options.json, options.device, **facts)
    if error is not None:
        print(f"error of auto's mel, {max(options.tokens)} tokens: {error:.2%}")


if __name__ == "__main__":
    main()
