"""Matrix products on a CPU by oneDNN, given the matrix in oneDNN's own order.

Of two rows, for which reading the matrix is all the work, PyTorch's own float32 product reads it at a
quarter of the memory's speed, oneDNN's at nearly all of it: ``benchmarks.decode``. Of many rows in bfloat16
it takes a quarter less time than PyTorch's.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

EXPECTED_ROWS = 16  # of T3; serves one row as well as a whole prefix
# Four rows take less time than two in bfloat16 without AMX. With it, and in float32, one row is as fast.
LEAST_ROWS = 4


def pack(weight: Tensor, rows: int = EXPECTED_ROWS) -> Tensor:
    """Returns a matrix [out, in] in the order in which ``linear`` reads it fastest.

    Vectors, and matrices on a GPU, stay as they are. rows: how many it is made for; it serves others as well.
    """
    if weight.ndim < 2:
        return weight
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return weight
    if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return weight  # oneDNN refuses bfloat16 on a CPU without AVX-512; PyTorch's own product does not
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return packed


@functools.cache
def has_tiles() -> bool:
    """Whether the CPU multiplies bfloat16 in tiles (AMX)."""
    return bool(torch.cpu._is_amx_tile_supported())


def enough_rows(rows: Tensor, weight: Tensor) -> Tensor:
    """rows [R, in], with rows of zeros below them where ``linear`` is faster with more."""
    if len(rows) >= LEAST_ROWS or not weight.is_mkldnn or weight.dtype != torch.bfloat16 or has_tiles():
        return rows
    return F.pad(rows, (0, 0, 0, LEAST_ROWS - len(rows)))


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows [..., in] times the transpose of a packed or plain weight [out, in]: [..., out]."""
    if not weight.is_mkldnn:
        return F.linear(rows, weight, bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(_flat(rows, weight), weight, bias, "none", [], "")
    return _shaped(product, rows)


def linear_gelu(rows: Tensor, weight: Tensor, bias: Tensor | None, approximate: str = "tanh") -> Tensor:
    """GELU of ``linear``; in bfloat16 in one pass, rounded once. approximate: "tanh" or "none"."""
    if not weight.is_mkldnn or weight.dtype != torch.bfloat16:
        return F.gelu(linear(rows, weight, bias), approximate=approximate)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(
        _flat(rows, weight), weight, bias, "gelu", [], approximate
    )
    return _shaped(product, rows)


def linear_plus(summand: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """summand [..., out] plus ``linear``: on a CPU in one pass, rounded once."""
    if not weight.is_mkldnn:
        return summand + F.linear(rows, weight, bias)
    found: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
        _flat(rows, weight), _flat(summand, weight), weight, bias, "add"
    )
    return _shaped(found, rows)


def _flat(rows: Tensor, weight: Tensor) -> Tensor:
    return enough_rows(rows if rows.ndim == 2 else rows.flatten(0, -2), weight)


def _shaped(product: Tensor, rows: Tensor) -> Tensor:
    """Undoes ``_flat``."""
    if rows.ndim == 2 and len(product) == len(rows):
        return product
    return product[: rows.shape[:-1].numel()].view(*rows.shape[:-1], -1)
