"""Products whose weights are laid out once: the same as the plain functions, with oneDNN and without."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ser_extract.encoders.products import Product, lay_out, lays_out

NEAR = {torch.float32: 1e-6, torch.bfloat16: 4e-3}
"""Relative L2 of a product to the plain function; bfloat16 has eight bits, and GELU rounds once less here."""
TYPES = pytest.mark.parametrize("dtype", list(NEAR), ids=["float32", "bfloat16"])


def error(made: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((made.double() - wanted.double()).norm() / wanted.double().norm())


@TYPES
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("onednn", [True, False])
def test_products_equal_the_plain_functions(dtype: torch.dtype, gelu: bool, bias: bool, onednn: bool) -> None:
    draw = torch.Generator().manual_seed(3)
    weight, offset = torch.randn(70, 33, generator=draw), torch.randn(70, generator=draw) if bias else None
    with torch.backends.mkldnn.flags(enabled=onednn):
        product = Product(weight, offset, dtype)
        for rows in (1, 5, 64, 301):
            x = torch.randn(rows, 33, generator=draw)
            made = product(x, gelu=gelu)
            plain = F.linear(x.to(dtype), weight.to(dtype), None if offset is None else offset.to(dtype))
            assert made.dtype is dtype and made.shape == (rows, 70)
            assert error(made, F.gelu(plain) if gelu else plain) < NEAR[dtype]


def test_rows_that_overlap_in_memory_are_taken_as_they_are() -> None:
    x, weight = torch.randn(41, 8), torch.randn(12, 24)
    rows = x.as_strided((20, 24), (16, 1))
    assert error(Product(weight, None)(rows), rows.clone() @ weight.T) < NEAR[torch.float32]


@TYPES
def test_a_laid_out_model_is_near_the_model(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv1d(4, 6, 3), nn.Flatten(1), nn.Linear(60, 16), nn.ReLU(), nn.Linear(16, 5, bias=False))
    x = torch.randn(7, 4, 12)
    with torch.inference_mode():
        wanted = model(x)
        lay_out(model, dtype)
        made = model(x)
    assert made.dtype is torch.float32
    assert error(made, wanted) < 5 * NEAR[dtype]
    assert all(type(layer) is not nn.Linear for layer in model)


def test_without_onednn_nothing_is_laid_out() -> None:
    with torch.backends.mkldnn.flags(enabled=False):
        assert not any(lays_out(dtype) for dtype in NEAR)
