"""Statistics for frozen batch norm on random weights.

FrozenBatchNorm2d divides by statistics that training left behind. Random weights come with mean 0 and variance 1,
which are nobody's statistics: activations grow or vanish by orders of magnitude over fifty layers, losses become
infinite in half precision, or denormals slow a CPU down. One pass over noise gives each layer the statistics of its
own input, as pretrained weights would have them.
"""

from __future__ import annotations

import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

__all__ = ["calibrate_frozen_batch_norm"]

_SIDE_PX = 192  # six by six positions at stride 32: enough for a mean and a variance, in a fraction of a second
_LEAST_SHARE = 0.05


def calibrate_frozen_batch_norm(backbone: nn.Module) -> int:
    """Set the statistics of every FrozenBatchNorm2d in backbone, in the order of its forward pass.

    The noise comes from torch's global generator: seed it. Returns how many layers were set; other layers of the
    backbone are left as they are.
    """
    layers = [module for module in backbone.modules() if isinstance(module, FrozenBatchNorm2d)]
    if not layers:
        return 0
    hooks = [layer.register_forward_pre_hook(_take_statistics) for layer in layers]
    try:
        with torch.no_grad():
            backbone(_noise())
    finally:
        for hook in hooks:
            hook.remove()
    return len(layers)


def _noise() -> torch.Tensor:
    """Two normalised images, 2x3xHxW of variance about 1, of coarse and fine noise: photographs are mostly coarse."""
    coarse = torch.randn(2, 3, _SIDE_PX // 16, _SIDE_PX // 16)
    smooth = nn.functional.interpolate(coarse, size=(_SIDE_PX, _SIDE_PX), mode="bilinear", align_corners=False)
    return 1.2 * smooth + 0.3 * torch.randn(2, 3, _SIDE_PX, _SIDE_PX)


def _take_statistics(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    mean, variance = inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3), unbiased=False)
    # A channel that the noise hardly stirs must not have its next stirring blown up.
    layer.running_mean = mean
    layer.running_var = variance.clamp(min=_LEAST_SHARE * float(variance.mean()))
