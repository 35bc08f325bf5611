"""Channels-last (NHWC): the model's weights, and the batch that reaches its first convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform

__all__ = ["use_channels_last"]

_MARK = "_autotune_channels_last"


def use_channels_last(model: nn.Module) -> nn.Module:
    """Turn the model's 4-d weights, and from now on its input batch, to channels_last, in place; returns the model.

    A detector of torchvision's makes its batch itself, from images of 3xHxW that have no such format: a hook turns
    the batch that its transform returns. Other models get a hook before their first convolution. Calling it again
    adds nothing.
    """
    model.to(memory_format=torch.channels_last)
    transform = next((module for module in model.modules() if isinstance(module, GeneralizedRCNNTransform)), None)
    place = transform or next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if place is None or getattr(place, _MARK, False):
        return model
    setattr(place, _MARK, True)
    for module in model.modules():
        if isinstance(module, KeypointRCNNPredictor):  # torchvision's keypoint loss takes a view of the contiguous
            module.register_forward_hook(_turn_back)
    if transform is not None:
        place.register_forward_hook(_turn_batch)
    else:
        place.register_forward_pre_hook(_turn_input)
    return model


def _turn_batch(_transform: nn.Module, _inputs: Any, output: Any) -> Any:
    images, targets = output
    images.tensors = images.tensors.contiguous(memory_format=torch.channels_last)
    return images, targets


def _turn_back(_predictor: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return output.contiguous()


def _turn_input(_convolution: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    batch = inputs[0]
    if batch.ndim != 4:  # a convolution also takes a single image, which has no such format
        return inputs
    return (batch.contiguous(memory_format=torch.channels_last), *inputs[1:])
