"""What one step of T3 consists of: operators, kernels and waits for the device, ours beside upstream's.

    python -m benchmarks.profile [--checkpoint DIR] [--device cpu|cuda] [--json FILE]

Counted by PyTorch's profiler as the difference between a long and a short run, divided by the steps between
them. Operators are all that PyTorch dispatches, those that call others included; kernels and copies are the
GPU's. A wait is where the program reads what the device computed: on a GPU the runtime's synchronizing calls;
on a CPU the operators that would be such calls there, and our look at who is done.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from speech.decoders import STEPS_A_POLL
from speech.locate import Checkpoint
from torch.profiler import ProfilerActivity, profile

from benchmarks.decode import request, upstream_without_stop, weights_of
from benchmarks.machine import describe, keep
from benchmarks.weights import some_weights
from speech.t3.batch import RunningBatch

SHORT, LONG = 8, 40
WAITS = ("aten::_local_scalar_dense", "aten::nonzero")
GPU_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
SHOWN = 8  # operators with the most time


def profiled(decode: Callable[[int], object], steps: int, on_gpu: bool) -> tuple[Counter[str], Counter[str]]:
    """Calls and microseconds by operator; kernels under "kernel"."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities) as recorded:
        decode(steps)
        if on_gpu:
            torch.cuda.synchronize()
    calls: Counter[str] = Counter()
    times_us: Counter[str] = Counter()
    for event in recorded.events():
        if event.device_type.name != "CPU":
            calls["kernel"] += 1
            continue
        calls[event.name] += 1
        times_us[event.name] += int(event.self_cpu_time_total)
    return calls, times_us


def a_step(decode: Callable[[int], object], on_gpu: bool) -> dict[str, Any]:
    decode(SHORT)
    short_calls, short_us = profiled(decode, SHORT, on_gpu)
    long_calls, long_us = profiled(decode, LONG, on_gpu)
    steps = LONG - SHORT
    calls = {name: (long_calls[name] - short_calls[name]) / steps for name in long_calls}
    times_ms = {name: (long_us[name] - short_us[name]) / steps / 1e3 for name in long_us}
    working = {name: count for name, count in calls.items() if times_ms.get(name, 0.0) > 0.0}
    most = sorted(working, key=lambda name: -times_ms[name])[:SHOWN]
    return {
        "operators": sum(count for name, count in calls.items() if name.startswith(("aten::", "mkldnn::"))),
        "kernels": calls.get("kernel", 0.0),
        "waits": sum(calls.get(name, 0.0) for name in (GPU_WAITS if on_gpu else WAITS)),
        "most_time": {name: {"ms": times_ms[name], "calls": calls[name]} for name in most},
    }


def ours(checkpoint: Checkpoint, device: torch.device) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    model, weights, _ = weights_of(checkpoint, device, "auto")
    batch = RunningBatch(weights, 2, poll_every=STEPS_A_POLL, graphs=on_gpu)

    def decode(steps: int) -> None:
        batch.join(request(model, 0, steps))
        while batch.members:
            batch.advance()

    found = a_step(decode, on_gpu)
    if not on_gpu:  # on a CPU no operator shows that ``advance`` looks
        found["waits"] += 1 / STEPS_A_POLL
    return found


def upstreams(checkpoint: Checkpoint, device: torch.device) -> dict[str, Any]:
    model, decoder = upstream_without_stop(checkpoint, device)
    return a_step(lambda steps: list(decoder.decode([request(model, 0, steps)])), device.type == "cuda")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # upstream's, and the profiler's on machines without a GPU
    device = torch.device(options.device)
    with some_weights(options.checkpoint) as folder:
        checkpoint = Checkpoint(folder, None, chosen_by_name=True)
        sides = {"upstream": upstreams(checkpoint, device), "ours": ours(checkpoint, device)}
    print(f"{describe(options.device)}; a step of one request, polled every {STEPS_A_POLL} steps here")
    for side, found in sides.items():
        counts = ", ".join(f"{found[what]:.2f} {what}" for what in ("operators", "kernels", "waits"))
        print(f"{side}: {counts}")
        for name, row in found["most_time"].items():
            print(f"    {name:45} {row['ms']:8.2f} ms {row['calls']:7.1f} calls")
    keep(options.json, options.device, a_step=sides)


if __name__ == "__main__":
    main()
