"""Matrix products on a CPU by oneDNN, given the matrix in oneDNN's own order.

Of two rows, for which reading the matrix is all the work, PyTorch's own float32 product reads it at a
quarter of the memory's speed, oneDNN's at nearly all of it: ``benchmarks.decode``. Of many rows in bfloat16
it takes a quarter less time than PyTorch's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EXPECTED_ROWS = 16  # of T3; serves one row as well as a whole prefix
# Four rows take less time than two in bfloat16, and no more in float32.
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


def enough_rows(rows: Tensor, weight: Tensor) -> Tensor:
    """rows [R, in], with rows of zeros below them where ``linear`` is faster with more."""
    missing = LEAST_ROWS - len(rows) if weight.is_mkldnn else 0
    return F.pad(rows, (0, 0, 0, missing)) if missing > 0 else rows


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows [..., in] times the transpose of a packed or plain weight [out, in]: [..., out]."""
    if not weight.is_mkldnn:
        return F.linear(rows, weight, bias)
    flat = rows if rows.ndim == 2 else rows.flatten(0, -2)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(
        enough_rows(flat, weight), weight, bias, "none", [], ""
    )
    if flat is rows and len(product) == len(rows):
        return product
    return product[: len(flat)].view(*rows.shape[:-1], -1)
