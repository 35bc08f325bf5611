"""Masks and keypoints where a detector trains on them and the data has none: in place of the real, for speed."""

from __future__ import annotations

import torch

from autotune.workload.samples import Target

__all__ = ["with_keypoints", "with_masks"]

_KEYPOINTS = 17  # COCO's, and torchvision's default


def with_masks(target: Target, height: int, width: int) -> Target:
    """The target with masks uint8 NxHxW, each box filled, unless it has masks."""
    if "masks" in target:
        return target
    masks = torch.zeros(len(target["boxes"]), height, width, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, target["boxes"].tolist(), strict=True):
        # At least a pixel, however small the box.
        mask[int(y1) : max(int(y2), int(y1) + 1), int(x1) : max(int(x2), int(x1) + 1)] = 1
    return {**target, "masks": masks}


def with_keypoints(target: Target) -> Target:
    """The target with keypoints float32 Nx17x3 (x, y, visible), visible on the box's diagonal, unless it has any."""
    if "keypoints" in target:
        return target
    boxes = target["boxes"]
    along = ((torch.arange(_KEYPOINTS) + 0.5) / _KEYPOINTS)[None, :, None]
    places = boxes[:, None, :2] + along * (boxes[:, None, 2:] - boxes[:, None, :2])
    return {**target, "keypoints": torch.cat([places, torch.ones(len(boxes), _KEYPOINTS, 1)], dim=2)}
