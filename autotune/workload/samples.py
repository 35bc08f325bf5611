"""What a workload needs to know of a data set, whatever its format."""

from __future__ import annotations

from typing import Protocol

import torch

__all__ = ["Item", "Samples", "Target", "in_words"]

Target = dict[str, torch.Tensor]
Item = tuple[torch.Tensor, Target]


class Samples(Protocol):
    """Images with boxes, sized up front and decoded one by one.

    categories: the largest label; a detector's head needs one class more, for the background (label 0).
    skipped: records left out because they are bad, images too that turn out so when they are decoded. skip_bad: whether
    they may be.
    """

    categories: int
    skipped: int
    skip_bad: bool

    @property
    def description(self) -> str:
        """The data in words, without what is left out so far."""
        ...

    def __len__(self) -> int: ...

    def height_width(self, index: int) -> tuple[int, int]:
        """Size in pixels, without decoding the image."""
        ...

    def box_count(self, index: int) -> int: ...

    def load(self, index: int) -> Item:
        """The image, float32 3xHxW in [0, 1], and its target: boxes float32 Nx4 (x1, y1, x2, y2 in pixels), labels
        int64 N. Raises DataError where the image cannot be decoded."""
        ...


def in_words(name: str, images: int, without_boxes: int) -> str:
    """A description of annotated images: `train.json: 158 images, 1 more without boxes left out`."""
    return f"{name}: {images} images" + (f", {without_boxes} more without boxes left out" if without_boxes else "")
