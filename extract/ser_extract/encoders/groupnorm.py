"""A group norm over time that does not see padding.

wav2vec 2.0 base and its kin normalise the first convolution's output over the whole time axis, one group per channel, so
zero padding changes the statistics and with them every frame: relative L2 0.2 to 0.4, with or without an attention mask
(transformers #10117, #21534). With statistics over the valid frames only, a padded and masked batch equals batch 1 at
4.7e-7 (`research/performance.md` 3.5): no valid frame of any later convolution reads a padded one.
"""

import torch
from torch import nn
from torch.nn import functional as F


class LengthGroupNorm(nn.Module):
    """Wraps a group norm; `frames` holds the valid frames of each row while a padded batch goes through, else None."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm
        self.frames: list[int] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises `(batch, channels, frames)`; padded frames come out as zeros."""
        if self.frames is None:
            return self.norm(x)
        norm, out = self.norm, torch.zeros_like(x)
        for row, frames in enumerate(self.frames):
            out[row, :, :frames] = F.group_norm(
                x[row : row + 1, :, :frames], norm.num_groups, norm.weight, norm.bias, norm.eps
            )[0]
        return out
