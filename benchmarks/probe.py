"""What a machine is, how fast its parts are, and the hazards of CUDA that the engine is built around.

    python -m benchmarks.probe [--only facts,speeds,captures,repeats,workspaces,new_lengths] [--device cuda]
                               [--json FILE]

Needs no weights. A section that fails says so, and the others follow.

facts        host, driver, GPU and versions
speeds       copying, matrix products, the launch of a small kernel; what a step's time is made of
captures     what another thread may do while one captures a CUDA graph: in the engine one thread does it all
repeats      how many results convolutions have for the same input, and what cuDNN's deterministic ones cost
workspaces   memory that a library keeps for every stream that it ever met: the engine captures on one
new_lengths  milliseconds of the first call with a length, and of further ones: the engine rounds lengths
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.decode import wait
from benchmarks.machine import describe, keep, results_file
from speech.capture import capture_graph

NVIDIA_SMI_FIELDS = (
    "driver_version,memory.total,memory.used,power.limit,clocks.max.sm,clocks.max.mem,mig.mode.current"
)
HOST_LOOP = 10_000_000
LAUNCHES = 1_000
STREAMS = 8
REPEATS = 20
LENGTHS = range(301, 307)
CAPTURE_WAIT_S = 5.0  # a capture goes on without the other thread after this

Figures = dict[str, Any]


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """Returns the median time of one call until the device is done, after three that are not counted."""
    times_ms = []
    for _ in range(3 + repeats):
        started = wait(device)
        work()
        times_ms.append(1e3 * (wait(device) - started))
    return statistics.median(times_ms[3:])


def facts(device: torch.device) -> Figures:
    started = time.perf_counter()
    for _ in range(HOST_LOOP):
        pass
    found: Figures = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "git": shutil.which("git"),
        "c_compiler": shutil.which("cc") or shutil.which("gcc"),
        "host_loop_s": time.perf_counter() - started,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "processors": properties.multi_processor_count,
            "memory_gb": properties.total_memory / 1e9,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return found | nvidia_smi()


def nvidia_smi() -> dict[str, str]:
    """Returns what the driver's tool says of the first GPU; nothing where there is no such tool."""
    command = ["nvidia-smi", f"--query-gpu={NVIDIA_SMI_FIELDS}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return {}
    values = (value.strip() for value in answer.splitlines()[0].split(","))
    return dict(zip(NVIDIA_SMI_FIELDS.split(","), values, strict=False))


def speeds(device: torch.device) -> Figures:
    on_gpu = device.type == "cuda"
    source = torch.zeros(2**30 if on_gpu else 2**24, dtype=torch.uint8, device=device)
    copy_ms = milliseconds(partial(torch.empty_like(source).copy_, source), device)
    found = {"copy_gb_per_s": 2e-6 * source.nbytes / copy_ms}
    for name, dtype, tf32 in (
        ("bfloat16", torch.bfloat16, False),
        ("float32", torch.float32, False),
        ("tf32", torch.float32, True),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        found[f"{name}_tflop_per_s"] = product_speed(device, dtype)
    small = torch.zeros(2, 1024, device=device)

    def launch() -> None:
        for _ in range(LAUNCHES):
            small.add_(1.0)

    found["launch_us"] = 1e3 * milliseconds(launch, device, repeats=5) / LAUNCHES
    if on_gpu:
        graph = capture_graph(launch, torch.cuda.Stream(), torch.cuda.graph_pool_handle())  # type: ignore[no-untyped-call]
        found["launch_in_a_graph_us"] = 1e3 * milliseconds(graph.replay, device, repeats=5) / LAUNCHES
    return found


def product_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Returns the TFLOP/s of a large matrix product."""
    width = 8192 if device.type == "cuda" else 1024
    matrix = torch.randn(width, width, device=device, dtype=dtype)
    return 2e-9 * width**3 / milliseconds(partial(torch.mm, matrix, matrix), device, repeats=5)


def captures(device: torch.device) -> Figures:
    """Does things in another thread while this one captures. What breaks most comes last."""
    if device.type != "cuda":
        return {"left out": "needs a GPU"}
    matrix, own = torch.randn(1024, 1024, device=device), torch.Generator(device)
    pageable = torch.ones(1, 9, 1)
    works: dict[str, Callable[[], object]] = {
        "a product": lambda: matrix @ matrix,
        "512 MB of memory": lambda: torch.empty(2**29, dtype=torch.uint8, device=device),
        "a draw of an own generator": lambda: torch.randn(4, device=device, generator=own),
        "a copy to the GPU": lambda: pageable.to(device),
        "a copy to the host": lambda: matrix[:2].cpu(),
        "waiting for a stream": lambda: torch.cuda.current_stream().synchronize(),
        "a draw of the default generator": lambda: torch.randn(4, device=device),
        "emptying the cache": torch.cuda.empty_cache,
        "waiting for the device": torch.cuda.synchronize,
    }
    return {name: beside_a_capture(work, device) for name, work in works.items()}


def beside_a_capture(work: Callable[[], object], device: torch.device) -> dict[str, str]:
    """Returns what became of the work and of the capture: "fine", or the error's first line."""
    inside, done, outcome = (
        threading.Event(),
        threading.Event(),
        {"other thread": "did not end", "capture": "fine"},
    )
    counter, graph, stream = (
        torch.zeros(4, device=device),
        torch.cuda.CUDAGraph(),
        torch.cuda.current_stream(),
    )

    def other() -> None:
        inside.wait()
        try:
            work()
            outcome["other thread"] = "fine"
        except RuntimeError as error:
            outcome["other thread"] = first_line(error)
        done.set()

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            counter.add_(1)
            inside.set()
            done.wait(CAPTURE_WAIT_S)
            counter.add_(1)
        graph.replay()
        torch.cuda.synchronize()
    except RuntimeError as error:
        outcome["capture"] = first_line(error)
    finally:
        inside.set()
        thread.join(CAPTURE_WAIT_S)
        torch.cuda.set_stream(
            stream
        )  # a capture that fails leaves its own behind, and a registered generator
        fresh = torch.Generator(device)
        torch.cuda.default_generators[device.index or 0].graphsafe_set_state(fresh.graphsafe_get_state())
    return outcome


def first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def vocoder_convolutions(device: torch.device) -> dict[str, Callable[[Tensor], Tensor]]:
    """Returns convolutions of the vocoder's first stage, of float32 [1, 512, T]."""
    draws = torch.Generator(device).manual_seed(0)
    upsampling = torch.randn(512, 256, 16, device=device, generator=draws)
    residual = torch.randn(512, 512, 7, device=device, generator=draws)
    return {
        "upsampling": lambda x: F.conv_transpose1d(x, upsampling, stride=8, padding=4),
        "residual": lambda x: F.conv1d(x, residual, padding=9, dilation=3),
    }


def repeats(device: torch.device) -> Figures:
    found: Figures = {}
    x = torch.randn(1, 512, 300, device=device)
    for name, convolve in vocoder_convolutions(device).items():
        for is_deterministic in (False, True):
            with torch.backends.cudnn.flags(deterministic=is_deterministic, allow_tf32=True):
                results = {convolve(x).cpu().numpy().tobytes() for _ in range(REPEATS)}
                time_ms = milliseconds(partial(convolve, x), device)
            which = "deterministic" if is_deterministic else "any algorithm"
            found[f"{name}, {which}"] = {"results": len(results), "ms": time_ms}
    return found


def workspaces(device: torch.device) -> Figures:
    if device.type != "cuda":
        return {"left out": "needs a GPU"}
    matrix = torch.randn(1024, 1024, device=device, dtype=torch.bfloat16)
    matrix @ matrix
    before = torch.cuda.memory_allocated()
    for _ in range(STREAMS):
        with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
            matrix @ matrix
    torch.cuda.synchronize()
    return {"mib_per_stream": (torch.cuda.memory_allocated() - before) / STREAMS / 2**20}


def new_lengths(device: torch.device) -> Figures:
    def attend(length: int) -> object:
        query, key, value = torch.randn(3, 2, 16, length, 64, device=device, dtype=torch.bfloat16)
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)

    convolutions = vocoder_convolutions(device)

    def convolve(length: int) -> object:
        return [each(torch.randn(1, 512, length, device=device)) for each in convolutions.values()]

    found: Figures = {}
    allowed = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    for name, work, with_cudnn in (
        ("convolutions", convolve, allowed),
        ("attention, cuDNN's left out", attend, False),
        ("attention, cuDNN's allowed", attend, True),
    ):
        torch.backends.cuda.enable_cudnn_sdp(with_cudnn)
        work(LENGTHS.start - 1)  # loads the library
        first, again = ([one_call_ms(partial(work, length), device) for length in LENGTHS] for _ in range(2))
        found[name] = {"first_ms": statistics.median(first), "again_ms": statistics.median(again)}
    torch.backends.cuda.enable_cudnn_sdp(allowed)
    return found


def one_call_ms(work: Callable[[], object], device: torch.device) -> float:
    started = wait(device)
    work()
    return 1e3 * (wait(device) - started)


SECTIONS: dict[str, Callable[[torch.device], Figures]] = {
    "facts": facts,
    "speeds": speeds,
    "repeats": repeats,
    "workspaces": workspaces,
    "new_lengths": new_lengths,
    "captures": captures,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probe")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--json", type=results_file)
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(SECTIONS):
        parser.error(f"no section is named {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    print(describe(options.device))
    found = {}
    with torch.inference_mode():
        for name in names:
            try:
                found[name] = SECTIONS[name](torch.device(options.device))
            except RuntimeError as error:  # CUDA's, and a lack of memory: the next section may do
                found[name] = {"failed": first_line(error)}
            print(f"{name}")
            for what, value in found[name].items():
                print(f"    {what:32} {in_words(value)}", flush=True)
    keep(options.json, options.device, **found)


def in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(inner)}" for name, inner in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
