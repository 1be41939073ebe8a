"""What an exception says about the GPU's state."""

from __future__ import annotations

import enum
import re

import torch


class GpuFault(enum.Enum):
    """MEMORY: there was not enough of it; the next try may fit. SUSPECT: the device may compute on, or not:
    ask it. STICKY: CUDA gives this error to every call of the process from now on.
    """

    MEMORY = enum.auto()
    SUSPECT = enum.auto()
    STICKY = enum.auto()


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
    """None for what is no fault of the GPU. Looks at what caused the exception, too."""
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
