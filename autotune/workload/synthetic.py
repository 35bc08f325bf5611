"""Noise images with the sizes and boxes of COCO: its figures, not its images."""

from __future__ import annotations

import math
import random

import torch
from torch.nn.functional import interpolate

from autotune.workload.samples import Item

__all__ = ["SyntheticSamples"]

# (height, width) in pixels and percent of images. Sizes that many COCO images have, in shares that meet the spread
# below: three rows miss its range of shapes, four its range of areas.
_TYPICAL_SIZES = {
    (480, 640): 26,
    (427, 640): 18,
    (426, 640): 6,
    (640, 480): 11,
    (640, 427): 6,
    (375, 500): 6,
    (500, 375): 2,
    (360, 640): 5,
    (640, 360): 3,
    (500, 333): 2,
    (333, 500): 2,
    (640, 640): 4,
    (612, 612): 2,
}
_FREE_SIZES_PERCENT = 7  # the rest: longest side 640, the other anything in range
_LANDSCAPE_SHARE = 0.7
_MEAN_BOXES = 7.3
# (share, smallest and largest square root of the area in pixels): COCO's small, medium and large objects.
_BOX_CLASSES = ((0.41, 6.0, 32.0), (0.34, 32.0, 96.0), (0.25, 96.0, 400.0))
_CATEGORY_IDS = 90


class SyntheticSamples:
    """count images of noise, drawn from seed: the same for the same (seed, index), each made when it is asked for.

    The spread follows what cocodataset.org and statistics of train2014 publish: 90% of images have 167,500 to
    355,840 pixels and 90% a height/width between 0.6 and 1.5, the longest side being 640; 604,907 instances on about
    82,000 images, a mean of 7.3 where 99% have at most 33 (a geometric distribution has both), 41% of them
    smaller than 32 x 32 px, 24% larger than 96 x 96 px. Category ids run to 90.
    """

    categories = _CATEGORY_IDS
    skip_bad = False

    def __init__(self, count: int, seed: int) -> None:
        self.skipped = 0
        self.description = f"synthetic: {count} noise images with COCO's spread of sizes and boxes"
        self._count = count
        self._seed = seed

    def __len__(self) -> int:
        return self._count

    def height_width(self, index: int) -> tuple[int, int]:
        return _size(self._random(index))

    def box_count(self, index: int) -> int:
        draw = self._random(index)
        _size(draw)
        return _box_count(draw)

    def load(self, index: int) -> Item:
        draw = self._random(index)
        height, width = _size(draw)
        count = _box_count(draw)
        boxes = torch.tensor([_box(draw, height, width) for _ in range(count)], dtype=torch.float32)
        labels = torch.tensor([draw.randint(1, _CATEGORY_IDS) for _ in range(count)], dtype=torch.int64)
        generator = torch.Generator().manual_seed(draw.getrandbits(31))
        return _noise(height, width, generator), {"boxes": boxes, "labels": labels}

    def _random(self, index: int) -> random.Random:
        # Seeded by text: Python hashes it, so that neighbours share nothing, and does so the same everywhere.
        return random.Random(f"{self._seed}/{index}")


def _size(draw: random.Random) -> tuple[int, int]:
    free = draw.random() * 100 < _FREE_SIZES_PERCENT
    if not free:
        return draw.choices(list(_TYPICAL_SIZES), weights=list(_TYPICAL_SIZES.values()))[0]
    if draw.random() < _LANDSCAPE_SHARE:
        return draw.randint(384, 556), 640
    return 640, draw.randint(427, 556)


def _box_count(draw: random.Random) -> int:
    """From 1: images without boxes are no training images. Geometric, by inversion."""
    return 1 + int(math.log(1.0 - draw.random()) / math.log(1.0 - 1.0 / _MEAN_BOXES))


def _box(draw: random.Random, height: int, width: int) -> tuple[float, float, float, float]:
    (_, low, high) = draw.choices(_BOX_CLASSES, weights=[share for share, _, _ in _BOX_CLASSES])[0]
    root = math.exp(draw.uniform(math.log(low), math.log(min(high, 0.9 * math.sqrt(height * width)))))
    # Width over height: kept where the box fits, so that the area stays what was drawn.
    shape = min(max(draw.lognormvariate(0.0, 0.5), (root / height) ** 2), (width / root) ** 2)
    box_width, box_height = root * math.sqrt(shape), root / math.sqrt(shape)
    x, y = draw.uniform(0.0, width - box_width), draw.uniform(0.0, height - box_height)
    return max(x, 0.0), max(y, 0.0), min(x + box_width, width), min(y + box_height, height)


def _noise(height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Coarse noise, as photographs have it, with fine noise over it, 3xHxW in [0, 1]."""
    coarse = torch.rand(1, 3, math.ceil(height / 32), math.ceil(width / 32), generator=generator)
    smooth = interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)[0]
    return (smooth + 0.05 * torch.randn(3, height, width, generator=generator)).clamp_(0.0, 1.0)
