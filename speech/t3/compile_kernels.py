"""Compiles the kernels of T3's steps beforehand, for GPUs that need not be there.

    python -m speech.t3.compile_kernels [CAPABILITY...]

Fills Triton's cache, in TRITON_CACHE_DIR, with what ``load_fused_step`` will look for there: kernels for each
capability, and Triton's own C code, which starts them. It needs a C compiler. The image is built with it.
Without a cache, kernels are compiled when a worker starts.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import driver as nvidia
from triton.runtime import build, driver

from speech.models.gpt2_t3 import Gpt2T3, Gpt2Weights, gpt2_shapes
from speech.models.llama_t3 import LlamaT3, T3Weights, upstream_shapes
from speech.models.spec import CHATTERBOX, NANO, TURBO, ModelSpec
from speech.models.t3 import T3
from speech.t3 import triton_kernels
from speech.t3.batch import RunningBatch
from speech.t3.fused_step import FUSED_STEPS, PDL_CAPABILITY

# A100; A40 and RTX 3090; L4, L40S and RTX 4090; H100 and H200; B200; RTX 5090 and RTX PRO 6000.
CAPABILITIES = ("8.0", "8.6", "8.9", "9.0", "10.0", "12.0")
# Of all sizes that T3 has in the published models.
SPECS = (CHATTERBOX, TURBO, NANO)


class _NoGpu:
    """Triton's driver, as far as compiling asks for one."""

    def __init__(self, capability: tuple[int, int]) -> None:
        self._capability = 10 * capability[0] + capability[1]

    def get_current_device(self) -> int:
        return self._capability  # Triton keeps compiled kernels by device

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._capability, 32)


class _Compiler:
    """Stands in for the module of kernels: compiles each launch instead of running it."""

    def __init__(self) -> None:
        self.compiled: dict[str, Any] = {}  # by hash

    def __getattr__(self, name: str) -> _Compiler:
        self._kernel = getattr(triton_kernels, name)
        return self

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def compile_one(*arguments: Any, **options: Any) -> None:
            kernel = self._kernel.warmup(*arguments, grid=grid, **options)
            self.compiled[kernel.hash] = kernel

        return compile_one


def compile_for(capability: tuple[int, int]) -> list[Any]:
    """Compiles the kernels of steps of the published sizes. Returns them."""
    compiler = _Compiler()
    driver.set_active(_NoGpu(capability))
    for spec in SPECS:
        # One layer's kernels are every layer's.
        t3, make = t3_without_memory(spec, layers=1), FUSED_STEPS[spec.family]
        batch = RunningBatch(t3, 2 * make.fewest_rows, poll_every=1, graphs=False)
        step = make(t3, batch._step_tensors(), pdl=capability >= PDL_CAPABILITY)  # type: ignore[arg-type]
        step._kernels = compiler
        for rows in (make.fewest_rows, 2 * make.fewest_rows):
            step.try_kernels(rows)
    return list(compiler.compiled.values())


def t3_without_memory(spec: ModelSpec, layers: int, device: str = "meta") -> T3:
    """Returns T3 in the published width and in bfloat16. On the device "meta" tensors have shapes alone."""
    dimensions = dataclasses.replace(spec.dimensions, t3_layers=layers)
    shapes = (gpt2_shapes if spec.family == "gpt2" else upstream_shapes)(spec, dimensions)
    weights = {name: torch.empty(shape, device=device) for name, shape in shapes.items()}
    if spec.family == "gpt2":
        return Gpt2T3(Gpt2Weights.from_upstream(weights, dimensions.t3_heads, torch.bfloat16), spec)
    return LlamaT3(T3Weights.from_upstream(weights, dimensions.t3_heads, torch.bfloat16), spec)


def compile_launchers(kernels: Sequence[Any]) -> None:
    """Builds the C modules that start kernels, which Triton else does at a kernel's first launch."""
    with tempfile.TemporaryDirectory() as folder:
        # They are linked with the driver's library, which is where the GPU is: an empty one does here. Some
        # compilers leave out a library of which nothing is used, and then the modules could not be loaded.
        library, linker = Path(folder, "libcuda.so.1"), Path(folder, "cc")
        subprocess.run(["cc", "-shared", "-o", library, "-x", "c", "/dev/null"], check=True)  # noqa: S603, S607
        linker.write_text('#!/bin/sh\nexec cc -Wl,--no-as-needed "$@"\n')
        linker.chmod(0o755)
        triton.knobs.build.cc = str(linker)
        triton.knobs.nvidia.libcuda_path = folder
        # Built and kept, but not imported: that takes the real library.
        with patch.object(build, "_load_module_from_path", MagicMock()):
            nvidia.CudaUtils()
            for kernel in kernels:
                nvidia.CudaLauncher(kernel.src, kernel.metadata)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m speech.t3.compile_kernels")
    parser.add_argument("capabilities", nargs="*", default=CAPABILITIES)
    kernels = []
    for capability in parser.parse_args().capabilities:
        major, minor = capability.split(".")
        found = compile_for((int(major), int(minor)))
        print(f"{capability}: {len(found)} kernels", flush=True)  # noqa: T201
        kernels += found
    compile_launchers(kernels)


if __name__ == "__main__":
    main()
