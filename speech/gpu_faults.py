"""Classification of exceptions by what they say about the GPU's state."""

from __future__ import annotations

import enum
import re

import torch


class GpuFault(enum.Enum):
    """Kinds of faults."""

    MEMORY = enum.auto()  # not enough memory; the next try may fit
    SUSPECT = enum.auto()  # whether the device still works has to be tried
    STICKY = enum.auto()  # CUDA gives this error to every further call of the process


# Errors after which "the process must be terminated and relaunched", in the words of the CUDA runtime
# API's list of cudaError_t, as cudaGetErrorString spells them.
_STICKY = re.compile(
    r"illegal memory access|device-side assert|illegal instruction|misaligned address|"
    r"invalid address space|invalid program counter|hardware stack error|launch failure|"
    r"launch timed out|uncorrectable ECC|uncorrectable NVLink|MMU fault|external device|"
    r"tensor memory|contained error|context is destroyed|driver shutting down",
    re.IGNORECASE,
)
_OF_A_GPU = re.compile(r"CUDA|cuda|CUBLAS_|CUDNN_|CUFFT_|CUSOLVER_|NVRTC_|cuDNN")
_MEMORY = re.compile(r"out of memory|ALLOC_FAILED")


def gpu_fault(error: BaseException) -> GpuFault | None:
    """Returns the kind of fault that an exception, or its cause, tells of; None for any other exception."""
    if isinstance(error, torch.OutOfMemoryError):
        return GpuFault.MEMORY
    if isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and _OF_A_GPU.search(str(error))
    ):
        text = str(error)
        if _STICKY.search(text):
            return GpuFault.STICKY
        return GpuFault.MEMORY if _MEMORY.search(text) else GpuFault.SUSPECT
    return gpu_fault(error.__cause__) if error.__cause__ is not None else None
