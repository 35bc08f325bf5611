"""Images and targets that the user's own code already holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from autotune.errors import DataError
from autotune.workload.images import to_tensor
from autotune.workload.samples import Item, Target

__all__ = ["TensorSamples"]


class TensorSamples:
    """A list of (image, target) in memory, as a detection data set of torchvision's interface yields them.

    image: a tensor 3xHxW (uint8 is scaled to [0, 1]) or a Pillow image. target: boxes Nx4 with x1 < x2 and y1 < y2,
    in pixels, and labels int64 N; other tensors in it (masks, keypoints) are kept. N may be 0.

    Raises DataError naming the item and what is wrong with it: a call in Python has no way to leave it out.
    """

    skip_bad = False

    def __init__(self, items: Sequence[Any], label: str | None = None) -> None:
        try:
            self._items = [_checked(item, f"item {number}") for number, item in enumerate(items)]
        except DataError as error:
            raise DataError(f"{error}; fix it") from None
        if not self._items:
            raise DataError("no items were given; give one at least")
        self.categories = max((int(t["labels"].max()) for _, t in self._items if len(t["labels"])), default=1)
        self.skipped = 0
        self.description = f"{label or 'given by the caller'}: {len(self._items)} images"

    def __len__(self) -> int:
        return len(self._items)

    def height_width(self, index: int) -> tuple[int, int]:
        _, height, width = self._items[index][0].shape
        return height, width

    def box_count(self, index: int) -> int:
        return len(self._items[index][1]["boxes"])

    def load(self, index: int) -> Item:
        return self._items[index]


def _checked(item: Any, where: str) -> Item:
    if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2:
        raise DataError(f"{where}: must be (image, target), got a {type(item).__name__}")
    image = _checked_image(item[0], where)
    if not isinstance(item[1], Mapping):
        raise DataError(f"{where}: the target must be a dict with boxes and labels, got a {type(item[1]).__name__}")
    return image, _checked_target(item[1], where)


def _checked_image(image: Any, where: str) -> torch.Tensor:
    if isinstance(image, Image.Image):
        return to_tensor(image)
    if not isinstance(image, torch.Tensor):
        raise DataError(f"{where}: the image must be a tensor or a Pillow image, got a {type(image).__name__}")
    plain = image.detach().as_subclass(torch.Tensor).cpu()
    if plain.ndim != 3 or plain.shape[0] != 3 or plain.numel() == 0:
        raise DataError(f"{where}: the image must be of shape (3, height, width), got {tuple(plain.shape)}")
    if plain.dtype is torch.uint8:
        return plain.to(torch.float32).div_(255.0)
    if not plain.is_floating_point():
        raise DataError(f"{where}: the image must be uint8 or floating point in [0, 1], got {plain.dtype}")
    plain = plain.to(torch.float32)
    if not bool(plain.isfinite().all()):
        raise DataError(f"{where}: the image holds values that are not finite")
    return plain


def _checked_target(given: Mapping[str, Any], where: str) -> Target:
    target = {
        str(key): value.detach().as_subclass(torch.Tensor).cpu()
        for key, value in given.items()
        if isinstance(value, torch.Tensor)
    }
    missing = [key for key in ("boxes", "labels") if key not in target]
    if missing:
        raise DataError(f"{where}: the target has no tensor of {' nor '.join(missing)}")
    boxes, labels = target["boxes"], target["labels"]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"{where}: boxes must be of shape (N, 4), got {tuple(boxes.shape)}")
    if labels.dtype is not torch.int64 or labels.shape != boxes.shape[:1]:
        raise DataError(
            f"{where}: labels must be int64 of shape ({len(boxes)},), got {labels.dtype} {tuple(labels.shape)}"
        )
    boxes = boxes.to(torch.float32)
    good = boxes.isfinite().all(dim=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if not bool(good.all()):
        first = int((~good).nonzero()[0])
        raise DataError(f"{where}: box {first} must be finite with x1 < x2 and y1 < y2, got {boxes[first].tolist()}")
    if len(labels) and int(labels.min()) < 0:
        raise DataError(f"{where}: labels must not be negative, got {int(labels.min())}")
    return {**target, "boxes": boxes}
