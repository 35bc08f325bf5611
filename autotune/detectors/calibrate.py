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

_IMAGES = 4
_SIDE_PX = 160  # five by five positions an image at stride 32: enough for a variance, in a fraction of a second
_CELLS = (1, 2, 3, 5, 10, 20, 40, 80)
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
    """Normalised images Nx3xHxW of variance 1 whose structure is of all sizes alike, as that of photographs is.

    Whole flat regions drive random filters far harder than fine noise does: statistics of that alone would let
    photographs grow tenfold on their way through a ResNet.
    """
    images = torch.zeros(_IMAGES, 3, _SIDE_PX, _SIDE_PX)
    for cells in _CELLS:
        coarse = torch.randn(_IMAGES, 3, cells, cells)
        images += nn.functional.interpolate(coarse, size=(_SIDE_PX, _SIDE_PX), mode="bilinear", align_corners=False)
    return images / images.std()


def _take_statistics(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    mean, variance = inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3), unbiased=False)
    # A channel that the noise hardly stirs must not have its next stirring blown up.
    layer.running_mean = mean
    layer.running_var = variance.clamp(min=_LEAST_SHARE * float(variance.mean()))
