"""Counts what a step of T3 on a GPU launches, without one.

    python -m tests.speech.t3.launches [MODEL...]

Tensors have shapes and the device "cuda", and nothing is computed. One launch is counted for each kernel of
ours and for each of PyTorch's operators that is more than a view. Some operators take several kernels, a sort
above all: ``benchmarks.profile`` counts kernels on a GPU.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from speech.models.spec import MODELS, ModelSpec
from speech.models.t3 import step_attention
from speech.t3.batch import RunningBatch
from speech.t3.compile_kernels import t3_without_memory
from speech.t3.fused_step import FUSED_STEPS
from speech.t3.sampling import Sampling

LENGTH = 512  # positions, where the step attends to all rows' alike


class Operators(TorchDispatchMode):
    """Counts PyTorch's operators."""

    FREE = ("aten::empty", "aten::_unsafe_view", "prim::device")  # memory, a view, a question

    def __init__(self, names: Counter[str]) -> None:
        super().__init__()
        self._names = names

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if not func.is_view and name not in self.FREE:
            self._names[name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


class Kernels:
    """Stands in for the module of kernels: counts launches."""

    def __init__(self, names: Counter[str]) -> None:
        self._names, self._name = names, ""

    def __getattr__(self, name: str) -> Kernels:
        self._name = name
        return self

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*args: Any, **options: Any) -> None:
            self._names[self._name] += 1

        return launch


def count_launches(spec: ModelSpec, slots: int, *, fused: bool) -> Counter[str]:
    """Counts by name, for a step of so many requests with the model's own parameters."""
    sampling, names = Sampling.of(spec.default_parameters), Counter[str]()
    rows, with_sort = slots * (2 if sampling.uses_cfg else 1), sampling.needs_sort(spec.sampler)
    with FakeTensorMode(), torch.inference_mode():
        t3 = t3_without_memory(spec, spec.dimensions.t3_layers, device="cuda")
        batch = RunningBatch(t3, rows, poll_every=1, graphs=False)
        step = FUSED_STEPS[spec.family](t3, batch._step_tensors(), pdl=True)
        step._kernels = Kernels(names)
        with step_attention(t3.device, t3.dtype):  # tries an engine, once a process
            pass
        with Operators(names):
            if fused:
                batch._decode_fused(step, rows, slots, with_sort)
            else:
                batch._decode_step(rows, slots, LENGTH, with_sort)
    return names


def main() -> None:
    for name in sys.argv[1:] or ("chatterbox", "turbo", "nano"):
        for slots in (1, 2, 8):
            for fused in (False, True):
                found = count_launches(MODELS[name], slots, fused=fused)
                way = "fused" if fused else "plain"
                ours = sum(count for each, count in found.items() if each.endswith("_kernel"))
                print(f"{name}, requests: {slots}, {way}: {found.total()} launches, {ours} of them ours")


if __name__ == "__main__":
    main()
