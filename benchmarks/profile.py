"""What a step of T3 and a chunk of S3Gen consist of: operators, kernels and waits, ours beside upstream's.

    python -m benchmarks.profile [--checkpoint DIR] [--model NAME] [--device cpu|cuda] [--json FILE]

Counted by PyTorch's profiler, for a step as the difference between a long and a short run, divided by the
steps between them, and for a chunk in its second run; a chunk has 25 speech tokens after a prompt of ten
seconds, and as many operators as a longer one. Operators are all that PyTorch dispatches, those that call
others included; kernels and copies are the GPU's. A wait is where the program reads what the device computed:
on a GPU the runtime's synchronizing calls; on a CPU the operators that would be such calls there, and our
look at what is done. What takes most time are kernels on a GPU, and operators on a CPU.

The floor is what the machine would need if it did nothing else: for a step, to read T3's weights once at the
speed of its memory; for a chunk of ten seconds, to do its operations at the speed of a large product. Both
speeds are measured here, in the dtype that "auto" takes.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.decode import gigabytes_a_step, load_ours, load_upstreams, memory_speed, request, rows_of
from benchmarks.machine import describe, keep, results_file
from benchmarks.probe import product_speed
from benchmarks.s3gen import make_requests
from benchmarks.weights import add_model, temporary_weights
from speech.models.spec import MODELS, ModelSpec
from speech.models.t3 import T3
from speech.pipeline import STEPS_PER_POLL, t3_dtype
from speech.runtime import Batch
from speech.s3gen.s3gen import Renderer
from speech.t3.batch import RunningBatch
from speech.upstream import UpstreamBatch
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import Model

SHORT, LONG = 8, 40
CHUNK_TOKENS, LONG_CHUNK_TOKENS = 25, 250
WAITS = ("aten::_local_scalar_dense", "aten::nonzero")
GPU_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
SHOWN = 8  # operators or kernels with the most time


@dataclass
class Profile:
    """What the profiler recorded, by the names of operators and of the runtime's calls, and of kernels."""

    calls: Counter[str] = field(default_factory=Counter)
    times_us: Counter[str] = field(default_factory=Counter)  # on the CPU, without what they call
    kernel_calls: Counter[str] = field(default_factory=Counter)
    kernel_times_us: Counter[str] = field(default_factory=Counter)


def profiled(decode: Callable[[int], object], steps: int, on_gpu: bool) -> Profile:
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities) as recorded:
        decode(steps)
        if on_gpu:
            torch.cuda.synchronize()
    found = Profile()
    for event in recorded.events():
        if event.device_type.name == "CPU":
            found.calls[event.name] += 1
            found.times_us[event.name] += int(event.self_cpu_time_total)
        else:
            found.kernel_calls[event.name] += 1
            found.kernel_times_us[event.name] += int(event.time_range.elapsed_us())
    return found


def counted(recorded: Profile, on_gpu: bool) -> dict[str, Any]:
    """Sums up what was recorded, and names what takes most time in it."""
    return summary(
        dict(recorded.calls),
        dict(recorded.kernel_calls),
        dict(recorded.kernel_times_us if on_gpu else recorded.times_us),
        on_gpu,
    )


def summary(
    calls: Mapping[str, float], kernels: Mapping[str, float], times_us: Mapping[str, float], on_gpu: bool
) -> dict[str, Any]:
    counts = kernels if on_gpu else calls
    most = sorted((name for name in times_us if times_us[name] > 0.0), key=lambda name: -times_us[name])
    return {
        "operators": sum(count for name, count in calls.items() if name.startswith(("aten::", "mkldnn::"))),
        "kernels": sum(kernels.values()),
        "waits": sum(calls.get(name, 0.0) for name in (GPU_WAITS if on_gpu else WAITS)),
        "most_time": {name: {"ms": times_us[name] / 1e3, "calls": counts[name]} for name in most[:SHOWN]},
    }


def a_step(decode: Callable[[int], object], on_gpu: bool) -> dict[str, Any]:
    """Counts of one step, and what takes most time in it."""
    decode(LONG)  # on a GPU, captures what a long run needs
    short, long = (profiled(decode, steps, on_gpu) for steps in (SHORT, LONG))
    calls = a_step_of(short.calls, long.calls)
    kernels = a_step_of(short.kernel_calls, long.kernel_calls)
    times = (short.kernel_times_us, long.kernel_times_us) if on_gpu else (short.times_us, long.times_us)
    return summary(calls, kernels, a_step_of(*times), on_gpu)


def a_step_of(short: Counter[str], long: Counter[str]) -> dict[str, float]:
    return {name: (long[name] - short[name]) / (LONG - SHORT) for name in long}


def a_chunk(renderer: Renderer, device: torch.device) -> dict[str, Any]:
    """Counts of one call of S3Gen for one chunk, and what takes most time in it."""

    def render(count: int) -> None:
        for samples in renderer.render(make_requests(CHUNK_TOKENS, count, device)):
            samples.cpu()

    render(1)  # on a GPU, captures its graph
    on_gpu = device.type == "cuda"
    return counted(profiled(render, 1, on_gpu), on_gpu)


def decoder(batch: Batch, model: Model) -> Callable[[int], object]:
    """Decodes so many steps of one request in a batch."""

    def decode(steps: int) -> None:
        batch.add(request(model, 0, steps))
        while batch.sequences:
            batch.step_many()

    return decode


def ours(
    spec: ModelSpec, checkpoint: Checkpoint, device: torch.device
) -> tuple[dict[str, Any], dict[str, Any]]:
    on_gpu = device.type == "cuda"
    model = load_ours(spec, checkpoint, device, "auto")
    batch = RunningBatch(model.t3, rows_of(model), poll_every=STEPS_PER_POLL, graphs=on_gpu)
    found = a_step(decoder(batch, model), on_gpu)
    if not on_gpu:  # on a CPU no operator shows that ``step_many`` looks
        found["waits"] += 1 / STEPS_PER_POLL
    return found, a_chunk(model.s3gen, device)


def upstreams(
    spec: ModelSpec, checkpoint: Checkpoint, device: torch.device
) -> tuple[dict[str, Any], dict[str, Any]]:
    model = load_upstreams(spec, checkpoint, device)
    step = a_step(decoder(UpstreamBatch(model.t3, model.spec), model), device.type == "cuda")
    return step, a_chunk(model.s3gen, device)


def floor(spec: ModelSpec, checkpoint: Checkpoint, device: torch.device) -> dict[str, float]:
    """Returns what a step reads and a long chunk computes, the speeds of the machine, and both in ms."""
    dtype = t3_dtype(device, "auto")
    model = load_ours(spec, checkpoint, device, "exact")
    assert isinstance(model.t3, T3)
    step_gb = gigabytes_a_step(model.t3) * dtype.itemsize / torch.float32.itemsize
    # Attention written out, since the counter does not know a CPU's kernel.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.s3gen.render(make_requests(LONG_CHUNK_TOKENS, 1, device))
    chunk_tflop = 1e-12 * counter.get_total_flops()
    gb_per_s, tflop_per_s = memory_speed(device), product_speed(device, dtype)
    return {
        "step_gb": step_gb,
        "memory_gb_per_s": gb_per_s,
        "step_ms": 1e3 * step_gb / gb_per_s,
        "chunk_tflop": chunk_tflop,
        "product_tflop_per_s": tflop_per_s,
        "chunk_ms": 1e3 * chunk_tflop / tflop_per_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    add_model(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # upstream's, and the profiler's on machines without a GPU
    device = torch.device(options.device)
    spec = MODELS[options.model]
    with temporary_weights(options.checkpoint, model=options.model) as folder:
        checkpoint = Checkpoint(folder, None, may_be_unpublished=True)
        sides = {"upstream": upstreams(spec, checkpoint, device), "ours": ours(spec, checkpoint, device)}
        least = floor(spec, checkpoint, device)
    print(f"{options.model}; {describe(options.device)}")
    steps, chunks = ({side: found[index] for side, found in sides.items()} for index in range(2))
    show(f"a step of one request, polled every {STEPS_PER_POLL} steps here", steps)
    show("a chunk", chunks)
    print(
        f"floor of a step: {least['step_gb']:.2f} GB at {least['memory_gb_per_s']:.0f} GB/s, "
        f"{least['step_ms']:.2f} ms; of a chunk of {LONG_CHUNK_TOKENS} tokens: "
        f"{least['chunk_tflop']:.2f} TFLOP at {least['product_tflop_per_s']:.2f} TFLOP/s, "
        f"{least['chunk_ms']:.1f} ms"
    )
    keep(options.json, options.device, model=options.model, a_step=steps, a_chunk=chunks, floor=least)


def show(what: str, sides: Mapping[str, Mapping[str, Any]]) -> None:
    print(what)
    for side, found in sides.items():
        counts = ", ".join(f"{found[kind]:.2f} {kind}" for kind in ("operators", "kernels", "waits"))
        print(f"  {side}: {counts}")
        for name, row in found["most_time"].items():
            print(f"    {name[:45]:45} {row['ms']:8.3f} ms {row['calls']:7.1f} calls")


if __name__ == "__main__":
    main()
