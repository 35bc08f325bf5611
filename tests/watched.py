"""A detector and an optimizer that remember what a training loop did with them."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["CountingSGD", "Detector"]


class Detector(nn.Module):
    """Batches its images itself, as torchvision's detectors do, and remembers what left its first convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Conv2d(3, 4, 3)
        self.seen: list[tuple[bool, torch.dtype]] = []

    def forward(self, images, targets):
        features = self.backbone(torch.stack(images))
        self.seen.append((features.is_contiguous(memory_format=torch.channels_last), features.dtype))
        return {"loss": features.float().square().mean(), "other": features.float().abs().mean()}


class CountingSGD(torch.optim.SGD):
    steps = 0

    def step(self, *args, **kwargs):
        self.steps += 1
        return super().step(*args, **kwargs)
