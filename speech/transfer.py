"""Copies from the host to the device."""

from __future__ import annotations

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns a tensor on the device, where it may be already. Does not wait for a GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        # Out of memory that is not pinned, CUDA would copy once the device has done all that it was given.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
