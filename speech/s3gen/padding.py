"""Chunks of different lengths in one batch: which go together, and how far they are padded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_BUCKET = 64


def bucket(length: int) -> int:
    """Returns the next of the padded lengths, of which each octave has four: 64, 80, 96, 112, 128, 160."""
    step = max(1 << max(length - 1, 0).bit_length(), SMALLEST_BUCKET) // 8
    return max(-(-length // step) * step, SMALLEST_BUCKET)


def buckets(first: int, last: int) -> list[int]:
    """Returns the padded lengths of all lengths from the first to the last."""
    return sorted({bucket(length) for length in range(first, last + 1)})


def similar_lengths(lengths: Sequence[int], room: Callable[[int], int]) -> Iterator[tuple[list[int], int]]:
    """Yields padded batches: the indices of their chunks, and the length that these are padded to.

    The longest come first. A batch has 1, 2, 4, ... chunks and is padded to a bucket: cuDNN makes a plan for
    each new shape, and so meets few. What is much shorter goes into another batch. room: how many chunks of a
    padded length a batch may have; it has one anyway.
    """
    waiting = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    while waiting:
        padded = bucket(lengths[waiting[0]])
        similar = sum(2 * bucket(lengths[index]) > padded for index in waiting)
        count = max(min(similar, room(padded)), 1)
        count = 1 << (count.bit_length() - 1)
        yield waiting[:count], padded
        del waiting[:count]


def stack_padded(tensors: Sequence[Tensor], length: int) -> Tensor:
    """Pads the last dimension with zeros, and stacks: tensors [..., T] to [B, ..., length]."""
    return torch.stack([F.pad(tensor, (0, length - tensor.shape[-1])) for tensor in tensors])


def valid(count: int, lengths: Tensor) -> Tensor:
    """Tells which of ``count`` positions are within each length, int64 [B]: bool [B, count]."""
    return torch.arange(count, device=lengths.device) < lengths[:, None]
