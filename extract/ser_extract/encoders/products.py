"""Matrix products on a CPU whose weights are laid out for the processor once, in float32 or bfloat16.

`torch.nn.functional.linear` in bfloat16 lays the weights out again at each call, and GELU reads and writes its whole output once
more. oneDNN, which torch brings along, takes weights laid out beforehand and applies GELU while a result is still in the cache.
torch has operators for that, `torch.ops.mkldnn`; the code that `torch.compile` writes calls them. Where torch was built without
oneDNN, the processor is another one than tried, or has no bfloat16 for it, the plain functions give the same.
"""

from platform import machine
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

X86 = ("x86_64", "AMD64")
"""Processors on which this was tried; others take the plain functions."""
ROWS = 800
"""Rows of a product that the layout is chosen for. Others are as exact, and about as fast."""


def lays_out(dtype: torch.dtype) -> bool:
    """Whether oneDNN is there for products of this type."""
    operators = torch.ops.mkldnn
    there = machine() in X86 and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    if not (there and hasattr(operators, "_linear_pointwise")):
        return False
    return dtype is torch.float32 or bool(operators._is_mkldnn_bf16_supported())


class Product:
    """`(rows, in)` -> `(rows, out)`: a product with bias, and GELU if asked for.

    Args:
        weight: `(out, in)`.
        bias: `(out,)`, or None.
        dtype: Type of the product and of its result: float32 or bfloat16.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype = torch.float32) -> None:
        self.dtype, self._laid_out = dtype, lays_out(dtype)
        weight = weight.detach().to(dtype).contiguous()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS) if self._laid_out else weight
        self._bias = None if bias is None else bias.detach().to(dtype).contiguous()

    def __call__(self, rows: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
        rows = rows.to(self.dtype)
        if self._laid_out:
            after, kind = ("gelu", "none") if gelu else ("none", "")
            out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, after, [], kind)
            return out
        out = F.linear(rows, self._weight, self._bias)
        return F.gelu(out) if gelu else out


class ProductLinear(nn.Linear):
    """A linear layer whose product is a `Product`; it takes and gives float32. `weight` stays for those who use it alone."""

    product: Product

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.product(x).float()


class LowConv1d(nn.Conv1d):
    """A convolution over time in bfloat16, which takes and gives float32."""

    low_weight: torch.Tensor
    low_bias: torch.Tensor | None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x.to(torch.bfloat16), self.low_weight, self.low_bias).float()


def lay_out(model: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """Turns the plain linear layers of a model into such of this type, in place; in bfloat16 its convolutions too.

    Norms, residual sums and softmax see what they see in float32. bfloat16 is worth it on processors with avx512_bf16 or
    amx_bf16 only; weights are converted once, where autocast on a CPU would convert all of them at each pass.
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = ProductLinear
            cast(ProductLinear, module).product = Product(module.weight, module.bias, dtype)
        elif type(module) is nn.Conv1d and dtype is torch.bfloat16:
            bias = module.bias
            module.__class__ = LowConv1d
            module.register_buffer("low_weight", module.weight.detach().to(dtype), persistent=False)
            module.register_buffer("low_bias", None if bias is None else bias.detach().to(dtype), persistent=False)
