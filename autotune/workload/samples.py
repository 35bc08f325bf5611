"""What a workload needs to know of a data set, whatever its format."""

from __future__ import annotations

from typing import Protocol

import torch

__all__ = ["Item", "Samples", "Target"]

Target = dict[str, torch.Tensor]
Item = tuple[torch.Tensor, Target]


class Samples(Protocol):
    """Images with boxes, sized up front and decoded one by one.

    categories: the largest label; a detector's head needs one class more, for the background (label 0).
    skipped: records left out because they are bad. skip_bad: whether they may be. description: the data in words.
    """

    categories: int
    skipped: int
    skip_bad: bool
    description: str

    def __len__(self) -> int: ...

    def height_width(self, index: int) -> tuple[int, int]:
        """Size in pixels, without decoding the image."""
        ...

    def box_count(self, index: int) -> int: ...

    def load(self, index: int) -> Item:
        """The image, float32 3xHxW in [0, 1], and its target: boxes float32 Nx4 (x1, y1, x2, y2 in pixels), labels
        int64 N. Raises DataError where the image cannot be decoded."""
        ...
