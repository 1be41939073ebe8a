"""The device's memory: what is free of it, whether another model fits, and errors that say it ran out."""

from __future__ import annotations

import errno
import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from errors import ModelUnavailable
from speech.gpu_faults import GpuFault, gpu_fault
from speech.models.gpt2_t3 import UNUSED_TENSORS as UNUSED_OF_GPT2
from speech.models.gpt2_t3 import gpt2_shapes
from speech.models.llama_t3 import UNUSED_TENSORS as UNUSED_OF_LLAMA
from speech.models.llama_t3 import upstream_shapes
from speech.models.spec import ModelSpec
from speech.models.t3 import cache_dtype
from speech.reference.encoder import reference_shapes
from speech.reference.shapes import voice_encoder_shapes
from speech.s3gen.shapes import ESTIMATOR_PREFIX, s3gen_shapes
from speech.t3.batch import CAPACITY, ROWS_WITH_CFG
from speech.weights.checkpoint import Checkpoint
from speech.weights.load import check_config
from speech.weights.shared import SharedParts, digest_of_conditionals

_CGROUP = Path("/sys/fs/cgroup")
FEWER_MODELS = "name fewer models in MODEL, or choose one with more memory"
# Torch's allocator on Linux and on Windows, and Linux where torch maps a file.
_HOST_MEMORY = re.compile(r"DefaultCPUAllocator: (can't allocate|not enough) memory|Cannot allocate memory")


@dataclass(frozen=True)
class MemoryNeed:
    """What a model takes of the device's memory beside the models that are loaded."""

    weights_bytes: int
    # Of its KV cache, for one chunk of text; 0 on a GPU, where the whole cache is allocated once all models
    # are loaded. On a CPU memory is taken as the cache is written.
    cache_bytes: int


def memory_need(
    spec: ModelSpec, checkpoint: Checkpoint, device: torch.device, t3_dtype: torch.dtype, shared: SharedParts
) -> MemoryNeed:
    """Returns what a model will take, by the shapes of its tensors. Raises ModelUnavailable.

    t3_dtype: of T3 and of the flow's estimator; everything else is loaded in float32. shared: what is loaded
    already, and costs nothing more.
    """
    config = check_config(checkpoint, spec)
    spec, dimensions = config.apply(spec), config.dimensions
    is_gpt2 = spec.family == "gpt2"
    t3 = (gpt2_shapes if is_gpt2 else upstream_shapes)(spec, dimensions)
    unused = UNUSED_OF_GPT2 if is_gpt2 else UNUSED_OF_LLAMA
    in_t3_dtype = [shape for name, shape in t3.items() if name not in unused]
    in_float32: list[tuple[int, ...]] = []
    s3gen_file = checkpoint.file(spec.files.s3gen)
    s3gen = shared.missing_s3gen(s3gen_file, spec.flow, s3gen_shapes(dimensions, spec.flow))
    for name, shape in s3gen.items():
        (in_t3_dtype if name.startswith(ESTIMATOR_PREFIX) else in_float32).append(shape)
    if not shared.has_encoder(digest_of_conditionals(checkpoint, spec, dimensions)):
        in_float32 += voice_encoder_shapes(dimensions).values()
        in_float32 += reference_shapes(dimensions).values()
    cache_bytes = 0
    if device.type == "cpu":
        rows = ROWS_WITH_CFG if "guidance" in spec.sampler else 1
        values = 2 * dimensions.t3_layers * dimensions.t3_width * CAPACITY * rows  # keys and values
        cache_bytes = values * cache_dtype(device, t3_dtype).itemsize
    return MemoryNeed(
        sum(map(math.prod, in_t3_dtype)) * t3_dtype.itemsize
        + sum(map(math.prod, in_float32)) * torch.float32.itemsize,
        cache_bytes,
    )


def check_room(spec: ModelSpec, need: MemoryNeed, caches_bytes: int, device: torch.device) -> None:
    """Raises ModelUnavailable, with all numbers, when less is free than a model needs.

    caches_bytes: of ``MemoryNeed.cache_bytes`` of this model and of those that were loaded before, which have
    not been written yet.
    """
    free_bytes = free_memory(device)
    if free_bytes is None or need.weights_bytes + caches_bytes <= free_bytes:
        return
    caches = f", KV caches for one chunk of text by each model {_gb(caches_bytes)}" if caches_bytes else ""
    raise ModelUnavailable(
        f"the weights of {spec.name} need {_gb(need.weights_bytes)} of the {owner_of_memory(device)}'s "
        f"memory{caches}, and {_gb(free_bytes)} are free",
        hint=FEWER_MODELS,
    )


def _gb(size_bytes: int) -> str:
    return f"{1e-9 * size_bytes:.1f} GB"


def ran_out(
    spec: ModelSpec, needed_bytes: int, free_bytes: int | None, device: torch.device
) -> ModelUnavailable:
    """Returns the error for a model whose loading took more than there was.

    needed_bytes: of its weights. free_bytes: before it was loaded; None: unknown.
    """
    free = "" if free_bytes is None else f", and {_gb(free_bytes)} were free"
    return ModelUnavailable(
        f"memory ran out while {spec.name} was loaded: its weights need {_gb(needed_bytes)} of the "
        f"{owner_of_memory(device)}'s memory, and more while they are read{free}",
        hint=FEWER_MODELS,
    )


def owner_of_memory(device: torch.device) -> str:
    """Returns what the memory belongs to that a model on the device takes, as messages say it."""
    return "machine" if device.type == "cpu" else "GPU"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or its cause, says that the memory of a GPU or of the machine did not suffice."""
    if isinstance(error, MemoryError) or gpu_fault(error) is GpuFault.MEMORY:
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, RuntimeError) and _HOST_MEMORY.search(str(error)):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def free_memory(device: torch.device) -> int | None:
    """Returns the bytes of a GPU's memory that nobody has taken, or what a CPU's process may still take.

    None where that cannot be known.
    """
    if device.type != "cuda":
        return _free_host_memory()
    torch.cuda.empty_cache()
    free: int = torch.cuda.mem_get_info(device)[0]
    return free


def _free_host_memory() -> int | None:
    """The least of what Linux calls available and what the container's limit leaves."""
    try:
        available = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    if available is None:
        return None
    free_bytes = 1024 * int(available[1])
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        cached = re.search(r"^inactive_file (\d+)$", (_CGROUP / "memory.stat").read_text(), re.MULTILINE)
    except OSError:
        return free_bytes
    if limit == "max":
        return free_bytes
    return min(free_bytes, int(limit) - int(used) + (int(cached[1]) if cached else 0))
