"""Products with packed weights are PyTorch's, on every CPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from speech.models import linear as linear_module
from speech.models.linear import enough_rows, linear, linear_gelu, linear_plus, pack


def random(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (1, 1), (2, 7), (1, 40)])
def test_products_are_pytorchs(shape, dtype):
    rows, weight = random(*shape, 96, dtype=dtype), random(64, 96, dtype=dtype)
    found, expected = linear(rows, pack(weight)), F.linear(rows, weight)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-4)


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (2, 7)])
def test_what_follows_a_product_is_computed_with_it(monkeypatch, shape, dtype, tiles):
    monkeypatch.setattr(linear_module, "has_tiles", lambda: tiles)
    rows, weight = random(*shape, 96, dtype=dtype), random(64, 96, dtype=dtype)
    bias, summand = random(64, dtype=dtype), random(*shape, 64, dtype=dtype)
    tolerance = {"rtol": 1e-2, "atol": 0.1} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-4}
    expected = F.linear(rows, weight, bias)
    for matrix in (weight, pack(weight)):
        added, curved = linear_plus(summand, rows, matrix, bias), linear_gelu(rows, matrix, bias)
        assert added.shape == curved.shape == expected.shape
        torch.testing.assert_close(added, summand + expected, **tolerance)
        torch.testing.assert_close(curved, F.gelu(expected, approximate="tanh"), **tolerance)


def test_rows_are_added_only_where_more_are_faster(monkeypatch):
    one = random(1, 96, dtype=torch.bfloat16)
    packed = pack(random(64, 96, dtype=torch.bfloat16))
    for tiles, rows in ((True, 1), (False, 4 if packed.is_mkldnn else 1)):
        monkeypatch.setattr(linear_module, "has_tiles", lambda tiles=tiles: tiles)
        assert len(enough_rows(one, packed)) == rows
    assert len(enough_rows(one.float(), pack(random(64, 96, dtype=torch.float32)))) == 1


def test_a_cpu_for_which_onednn_refuses_bfloat16_computes_with_the_plain_matrix(monkeypatch):
    """Without AVX-512 the library raises; float32 stays packed there."""
    mkldnn = torch.ops.mkldnn
    without = SimpleNamespace(
        _is_mkldnn_bf16_supported=lambda: False, _reorder_linear_weight=mkldnn._reorder_linear_weight
    )
    monkeypatch.setattr(linear_module.torch.ops, "mkldnn", without)
    weight = random(64, 96, dtype=torch.bfloat16)
    assert pack(weight) is weight
    assert pack(weight.float()).is_mkldnn
