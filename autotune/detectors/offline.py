"""Pretrained structure without the download.

torchvision decides by `weights_backbone` what it freezes: batch norm becomes FrozenBatchNorm2d and the first layers
stop training only where the backbone comes pretrained, and a fine-tuned detector is what people train. Rather than
repeat those rules here, where they would go stale, torchvision's own builders run with its own weights enums, and the
one method that downloads is replaced while they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torchvision
from torchvision.models import WeightsEnum

__all__ = ["random_weights_for_pretrained"]


@contextmanager
def random_weights_for_pretrained() -> Iterator[None]:
    """While open, classification weights of torchvision's are random ones of the same shapes.

    They come from torch's global generator, on the device that tensors are created on.
    """
    original = WeightsEnum.get_state_dict
    WeightsEnum.get_state_dict = _random_state_dict
    try:
        yield
    finally:
        WeightsEnum.get_state_dict = original


def _random_state_dict(weights: Any, *_args: Any, **_kwargs: Any) -> dict[str, torch.Tensor]:
    """The state dict of a new model of the kind that the weights belong to; stands in for get_state_dict."""
    for name in torchvision.models.list_models(module=torchvision.models):
        if isinstance(weights, torchvision.models.get_model_weights(name)):
            model: torch.nn.Module = torchvision.models.get_model(name, weights=None)
            return model.state_dict()
    raise LookupError(f"{weights!r} belongs to no classification model of torchvision's")
