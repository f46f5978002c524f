"""bfloat16 on a CPU: the products of a model in bfloat16, everything between them in float32.

Weights are converted once. Each product takes its input in bfloat16 and gives float32, so norms, residual sums and softmax
see what they see in float32. Worth it on processors with avx512_bf16 or amx_bf16 only.
"""

import torch
from torch import nn

TYPE = torch.bfloat16


class LowLinear(nn.Linear):
    """A linear layer whose product is in bfloat16; `weight` stays for those who use it without the layer."""

    low_weight: torch.Tensor
    low_bias: torch.Tensor | None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x.to(TYPE), self.low_weight, self.low_bias).float()


class LowConv1d(nn.Conv1d):
    """The same for a convolution over time."""

    low_weight: torch.Tensor
    low_bias: torch.Tensor | None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x.to(TYPE), self.low_weight, self.low_bias).float()


LOW: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: LowLinear, nn.Conv1d: LowConv1d}


def lower(model: nn.Module) -> None:
    """Turns the plain linear layers and convolutions of a model into such of bfloat16, in place."""
    for module in model.modules():
        kind = LOW.get(type(module))
        if kind is not None:
            module.__class__ = kind
            weight, bias = module.get_parameter("weight"), dict(module.named_parameters(recurse=False)).get("bias")
            module.register_buffer("low_weight", weight.detach().to(TYPE), persistent=False)
            module.register_buffer("low_bias", None if bias is None else bias.detach().to(TYPE), persistent=False)
