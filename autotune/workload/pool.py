"""The images that every trial replays, decoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle, islice
from statistics import fmean

import psutil
import torch

from autotune.errors import DataError
from autotune.workload.extra_targets import with_keypoints, with_masks
from autotune.workload.samples import Item, Samples

__all__ = ["Pool", "make_pool"]

IMAGES_IN_TURN = 64
# Photographs of many megapixels: fewer of them, rather than more memory than the training itself takes.
MOST_BYTES = 2**30


class Pool:
    """Decoded images for replay: a representative list for speed, and the largest batch for memory.

    images: distinct images that the steps replay. mean_boxes: boxes per image, over these. input_elements: of an image
    in the worst case, padded to the greatest height and width that the detector makes of any. input_sizes: how many
    sizes the detector makes of all the images.
    """

    def __init__(self, effective_batch: int, representative: list[Item], worst: _WorstCase) -> None:
        self._effective_batch = effective_batch
        self._representative = representative
        self._worst = worst
        self.images = len(representative)
        self.input_elements = worst.elements
        self.input_sizes = worst.sizes
        self.mean_boxes = fmean(len(target["boxes"]) for _, target in representative)

    def step(self, index: int) -> list[Item]:
        """The effective batch of an optimizer step, the same for every training config; the images come in turn."""
        first = index * self._effective_batch
        return [self._representative[(first + offset) % self.images] for offset in range(self._effective_batch)]

    def worst_case(self, batch_size: int) -> list[Item]:
        """The batch of batch_size images that takes the most memory: the largest padded area, then the most boxes."""
        return self._worst.batch(batch_size)


def make_pool(
    samples: Samples,
    *,
    effective_batch: int,
    resized: Callable[[int, int], tuple[int, int]],
    needs_masks: bool,
    needs_keypoints: bool,
    seed: int,
    size: int | None = None,
) -> Pool:
    """Choose and decode: size images drawn by seed without replacement, and the worst case of all images.

    size: default 64 or the effective batch, whichever is more, fewer where the images take over 1 GiB; where the data
    has fewer, they repeat. resized: what the detector makes of an image's (height, width). Raises DataError where the
    images of an effective batch do not fit into memory, or where one cannot be decoded; with the samples' skip_bad that
    is replaced, and counted in samples.skipped.
    """
    opened = samples.description
    decode = _Decoder(samples, needs_masks, needs_keypoints)
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed)).tolist()
    wanted = size or _affordable(samples, order, effective_batch)
    chosen = list(islice(decode.each(order), wanted))
    if not chosen:
        raise DataError(f"{opened}: not one image could be decoded")
    worst = _WorstCase(samples, resized, decode)
    for batch_size in {1, effective_batch}:
        worst.batch(batch_size)
    return Pool(effective_batch, chosen, worst)


class _Decoder:
    """Decodes with the extra targets that the detector needs, each index at most once."""

    def __init__(self, samples: Samples, needs_masks: bool, needs_keypoints: bool) -> None:
        self._samples = samples
        self._needs_masks = needs_masks
        self._needs_keypoints = needs_keypoints
        self._done: dict[int, Item | None] = {}

    def each(self, indices: Iterable[int]) -> Iterable[Item]:
        """The items of indices in order, without those that cannot be decoded."""
        return (item for item in map(self._item, indices) if item is not None)

    def _item(self, index: int) -> Item | None:
        if index not in self._done:
            self._done[index] = self._decoded(index)
        return self._done[index]

    def _decoded(self, index: int) -> Item | None:
        try:
            image, target = self._samples.load(index)
        except DataError as error:
            if not self._samples.skip_bad:
                raise DataError(f"{error}; fix it, or pass --skip-bad to leave it out") from None
            self._samples.skipped += 1
            return None
        if self._needs_masks:
            target = with_masks(target, image.shape[-2], image.shape[-1])
        if self._needs_keypoints:
            target = with_keypoints(target)
        return image, target


class _WorstCase:
    """The largest batches over all samples, ranked by size and box count alone, decoded when needed.

    A batch is padded to its greatest height and its greatest width: the tallest and the widest image together make
    the largest, whatever the others are, so that these can be the ones with the most boxes.
    """

    def __init__(self, samples: Samples, resized: Callable[[int, int], tuple[int, int]], decode: _Decoder) -> None:
        self._decode = decode
        everything = range(len(samples))
        sizes = [samples.height_width(index) for index in everything]
        inputs = [resized(*size) for size in sizes]
        self.sizes = len(set(inputs))
        self.elements = 3 * max(height for height, _ in inputs) * max(width for _, width in inputs)
        boxes = [samples.box_count(index) for index in everything]
        # The last to decide is the size on disk: the images lie on the device before they are resized.
        ties = [(boxes[index], sizes[index][0] * sizes[index][1]) for index in everything]
        self._largest = sorted(everything, key=lambda i: (inputs[i][0] * inputs[i][1], *ties[i]), reverse=True)
        self._tallest = sorted(everything, key=lambda i: (inputs[i][0], *ties[i]), reverse=True)
        self._widest = sorted(everything, key=lambda i: (inputs[i][1], *ties[i]), reverse=True)
        self._fullest = sorted(everything, key=lambda i: ties[i], reverse=True)

    def batch(self, batch_size: int) -> list[Item]:
        if batch_size == 1:
            return list(islice(self._decode.each(self._largest), 1))
        corners = [item for ranked in (self._tallest, self._widest) for item in islice(self._decode.each(ranked), 1)]
        fullest = islice(self._decode.each(self._fullest), batch_size)
        distinct = {id(item): item for item in (*corners, *fullest)}
        return list(islice(cycle(distinct.values()), batch_size))


def _affordable(samples: Samples, order: list[int], effective_batch: int) -> int:
    """How many images in that order to keep: by count and by bytes, but an effective batch at least.

    Raises DataError where those, and as many for the worst case, do not fit into what memory is free."""
    free_bytes = psutil.virtual_memory().available
    count, total_bytes = 0, 0
    for index in order[: max(effective_batch, IMAGES_IN_TURN)]:
        height, width = samples.height_width(index)
        total_bytes += 3 * 4 * height * width
        if count >= effective_batch and total_bytes > MOST_BYTES:
            break
        if 2 * total_bytes > free_bytes:
            raise DataError(
                f"an effective batch of {effective_batch} images: decoded, no more than {count} fit twice, for speed "
                f"and for the worst case, into the {free_bytes / 2**30:.1f} GiB of memory that are free; give a "
                "smaller --effective-batch"
            )
        count += 1
    return count
