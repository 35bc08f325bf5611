"""The size that a detector resizes its images to: read from its own transform, put into words, changed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from autotune.errors import UsageError

__all__ = ["SMALLEST_PX", "check_image_size", "in_words", "own_transform", "resizer", "set_image_size"]

SMALLEST_PX = 64  # at stride 32 two positions a side are left: less, and batch norm has nothing to average over


def own_transform(model: nn.Module) -> GeneralizedRCNNTransform | None:
    """torchvision's transform inside the model, wherever it stands; None for a model that resizes otherwise."""
    return next((module for module in model.modules() if isinstance(module, GeneralizedRCNNTransform)), None)


def in_words(model: nn.Module) -> str:
    """`shorter side 320, longer side at most 533 px`, `300 x 300 px`."""
    transform = own_transform(model)
    if transform is None:
        return "as the model takes it"
    if transform.fixed_size is not None:
        width, height = transform.fixed_size
        return f"{height} x {width} px"
    low, high = min(transform.min_size), max(transform.min_size)
    shorter = f"{low}" if low == high else f"{low} to {high} at random"
    return f"shorter side {shorter}, longer side at most {transform.max_size} px"


def resizer(model: nn.Module) -> Callable[[int, int], tuple[int, int]]:
    """A function from (height, width) in pixels to what the model's transform makes of it, padding excluded.

    Where the shorter side is drawn at random, the largest is taken. A model without torchvision's transform is taken
    to leave images as they are. The rule is that of torchvision's `_resize_image_and_masks`.
    """
    transform = own_transform(model)
    if transform is None:
        return lambda height, width: (height, width)
    if transform.fixed_size is not None:
        fixed_width, fixed_height = transform.fixed_size
        return lambda height, width: (fixed_height, fixed_width)
    shorter, longer = max(transform.min_size), transform.max_size

    def resized(height: int, width: int) -> tuple[int, int]:
        scale = min(shorter / min(height, width), longer / max(height, width))
        return math.floor(height * scale), math.floor(width * scale)

    return resized


def check_image_size(pixels: int) -> None:
    """Raises UsageError for a size that no detector can be trained at."""
    if pixels < SMALLEST_PX:
        raise UsageError(f"image size {pixels} px: too small to train a detector at; give {SMALLEST_PX} or more")


def set_image_size(model: nn.Module, pixels: int, label: str) -> None:
    """Make the model's transform resize to pixels: both sides of a fixed input, else the shorter side in proportion.

    Raises UsageError where the model has no such transform, or where its layers are left with nothing at that size.
    """
    check_image_size(pixels)
    transform = own_transform(model)
    if transform is None:
        raise UsageError(
            f"{label}: the model does not resize by torchvision's transform, so its image size cannot be set from "
            f"here; leave the image size out, and set it in the model"
        )
    if transform.fixed_size is None:
        transform.max_size = round(pixels * transform.max_size / max(transform.min_size))
        transform.min_size = (pixels,)
        return
    own_px = max(transform.fixed_size)
    transform.fixed_size, transform.min_size, transform.max_size = (pixels, pixels), (pixels,), pixels
    backbone = getattr(model, "backbone", None)
    if isinstance(backbone, nn.Module) and not _leaves_something(backbone, pixels):
        raise UsageError(f"{label}: an image size of {pixels} px is too small for its layers; its own is {own_px} px")


def _leaves_something(backbone: nn.Module, pixels: int) -> bool:
    """Whether an image of that size gets through, tried on shapes alone."""
    shapes_only = copy.deepcopy(backbone).to("meta").eval()
    try:
        with torch.no_grad():
            shapes_only(torch.empty(1, 3, pixels, pixels, device="meta"))
    except RuntimeError:
        return False
    return True
