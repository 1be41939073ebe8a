"""The device's memory: what is free of it, whether another model fits, and errors that say it ran out."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import torch

from errors import ModelUnavailable
from speech.gpu_faults import GpuFault, gpu_fault
from speech.models.spec import ModelSpec
from speech.weights.checkpoint import Checkpoint
from speech.weights.shared import SharedParts

_CGROUP = Path("/sys/fs/cgroup")
FEWER_MODELS = "name fewer models in MODEL, or choose one with more memory"
# Torch's allocator on Linux and on Windows, and Linux where torch maps a file.
_HOST_MEMORY = re.compile(r"DefaultCPUAllocator: (can't allocate|not enough) memory|Cannot allocate memory")


def check_room(
    spec: ModelSpec, checkpoint: Checkpoint, device: torch.device, t3_dtype: torch.dtype, shared: SharedParts
) -> int:
    """Returns the bytes that a model's weights need.

    Raises ModelUnavailable when fewer are free, with both numbers.

    shared: what is loaded already, and costs nothing more.
    """
    free_bytes = free_memory(device)
    needed_bytes = weights_bytes(spec, checkpoint, t3_dtype, shared)
    if free_bytes is None or needed_bytes <= free_bytes:
        return needed_bytes
    raise ModelUnavailable(
        f"the weights of {spec.name} need {1e-9 * needed_bytes:.1f} GB of the "
        f"{owner_of_memory(device)}'s memory, and {1e-9 * free_bytes:.1f} GB are free",
        hint=FEWER_MODELS,
    )


def ran_out(
    spec: ModelSpec, needed_bytes: int, free_bytes: int | None, device: torch.device
) -> ModelUnavailable:
    """Returns the error for a model whose loading took more than there was.

    needed_bytes: of its weights. free_bytes: before it was loaded; None: unknown.
    """
    free = "" if free_bytes is None else f", and {1e-9 * free_bytes:.1f} GB were free"
    return ModelUnavailable(
        f"memory ran out while {spec.name} was loaded: its weights need {1e-9 * needed_bytes:.1f} GB of the "
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


def weights_bytes(spec: ModelSpec, checkpoint: Checkpoint, t3_dtype: torch.dtype, shared: SharedParts) -> int:
    """Returns the bytes that a model's weights take beside those that are loaded, by the sizes of its files.

    The files hold float32; T3 is loaded in ``t3_dtype``.
    """
    t3, s3gen = (checkpoint.file(name) for name in (spec.files.t3, spec.files.s3gen))
    t3_bytes = t3.stat().st_size * t3_dtype.itemsize // torch.float32.itemsize
    return t3_bytes + shared.missing_bytes(s3gen, spec.flow)


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
