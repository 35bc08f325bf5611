"""torchvision's operators: RoIAlign, RoIPool, NMS and deformable convolution.

Formulas follow the kernels in torchvision/csrc/ops/cuda.
"""

from __future__ import annotations

from math import ceil, prod

from autotune.probes.costs.arguments import Rule, integer, optional_tensor, tensor, vector_cost
from autotune.probes.costs.call import Arithmetic, Call, Cost, Tensor
from autotune.probes.costs.resampling import BILINEAR_FLOPS

__all__ = ["RULES"]

# A sampling point's position, its distances and its four weights: the kernels compute them for each channel anew.
_POINT_FLOPS = 12
# Of two boxes: four extremes, two extents with two maxima, three areas (1 + 3 + 3), and union, quotient, comparison.
_IOU_FLOPS = 19
# What an adaptive RoIAlign (sampling_ratio 0) takes on each axis where the feature map allows: FPN sends a box to the
# level on which it is some 14 cells wide (224 pixels on stride 16; arXiv 1612.03144), 2 for each of 7 bins.
_ADAPTIVE_POINTS = 2
_MASK_WORD_BITS = 64


def _points(sampling_ratio: int, sizes: tuple[int, int], pooled: tuple[int, int]) -> int:
    """Sampling points of a bin. An adaptive ratio is ceil(RoI / bins), which the data decide: an estimate, and at most
    what a RoI as large as the whole map takes."""
    if sampling_ratio > 0:
        return sampling_ratio**2
    return prod(min(_ADAPTIVE_POINTS, ceil(size / max(bins, 1))) for size, bins in zip(sizes, pooled, strict=True))


def _roi_align(call: Call) -> Cost:
    """(input, rois, scale, pooled h, pooled w, sampling_ratio, aligned). FLOPs: rois x channels x bins x points x
    (a bilinear value and its weights). Reads four neighbours of each point, but no more than the input."""
    source, rois = tensor(call, 0, rank=4), tensor(call, 1, rank=1)
    pooled = integer(call, 3), integer(call, 4)
    outputs = rois.dims[0] * source.dims[1] * prod(pooled)
    points = outputs * _points(integer(call, 5), (source.dims[2], source.dims[3]), pooled)
    touched = min(source.count, 4 * points) * source.item_bytes
    moved = touched + rois.bytes + outputs * source.item_bytes
    return vector_cost(points * (BILINEAR_FLOPS + _POINT_FLOPS), float(moved), source.dtype)


def _roi_align_backward(call: Call) -> Cost:
    """(gradient, rois, scale, pooled h, pooled w, batch, channels, height, width, sampling_ratio, aligned): writes
    zeros of the input's size, then adds to four neighbours of each point: reads and writes what it hits."""
    gradient, rois = tensor(call, 0), tensor(call, 1)
    sizes, pooled = (integer(call, 7), integer(call, 8)), (integer(call, 3), integer(call, 4))
    points = gradient.count * _points(integer(call, 9), sizes, pooled)
    written = integer(call, 5) * integer(call, 6) * prod(sizes)
    moved = gradient.bytes + rois.bytes + (written + 2 * min(written, 4 * points)) * gradient.item_bytes
    return vector_cost(points * (BILINEAR_FLOPS + _POINT_FLOPS), float(moved), gradient.dtype)


def _roi_pool(call: Call) -> Cost:
    """(input, rois, scale, pooled h, pooled w): a comparison for each cell of each bin; a RoI is taken to be as wide as
    an adaptive RoIAlign's, at most the map. Writes maxima and their places (int32)."""
    source, rois = tensor(call, 0, rank=4), tensor(call, 1, rank=1)
    pooled = integer(call, 3), integer(call, 4)
    cells = prod(min(size, _ADAPTIVE_POINTS * bins) for size, bins in zip(source.dims[2:4], pooled, strict=True))
    compared = rois.dims[0] * source.dims[1] * cells
    written = Tensor((rois.dims[0], source.dims[1], *pooled), source.dtype)
    moved = min(source.count, compared) * source.item_bytes + rois.bytes + written.bytes + 4 * written.count
    return vector_cost(compared, float(moved), source.dtype)


def _roi_pool_backward(call: Call) -> Cost:
    """(gradient, rois, argmax, scale, pooled h, pooled w, batch, channels, height, width)."""
    gradient, rois, places = tensor(call, 0), tensor(call, 1), tensor(call, 2)
    written = prod(integer(call, place) for place in range(6, 10))
    moved = gradient.bytes + rois.bytes + places.bytes + (written + 2 * gradient.count) * gradient.item_bytes
    return vector_cost(gradient.count, float(moved), gradient.dtype)


def _nms(call: Call) -> Cost:
    """(boxes (n, 4), scores (n), threshold): an IoU for each of n^2 / 2 pairs. Writes a bit for each pair of n^2, which
    the suppression reads. The sort, n log n, is not counted beside it."""
    boxes, scores = tensor(call, 0, rank=1), tensor(call, 1)
    count = boxes.dims[0]
    mask_bytes = count * ceil(count / _MASK_WORD_BITS) * (_MASK_WORD_BITS // 8)
    moved = boxes.bytes + scores.bytes + 2 * mask_bytes
    return vector_cost(_IOU_FLOPS * count**2 / 2, float(moved), boxes.dtype)


def _deformable(source_at: int, passes: int) -> Rule:
    """(input, weight, offset, mask, bias, ...), after the gradient in the backward. FLOPs: the dense convolution's, and
    a bilinear value for each input channel, tap and position; a backward does both twice, for input and weight. Reads
    and writes the sampled columns, which are a matrix in memory."""

    def rule(call: Call) -> Cost:
        source, weight, offset = (tensor(call, source_at + place, rank=4) for place in range(3))
        mask, bias = (optional_tensor(call, source_at + place) for place in (3, 4))
        positions = offset.dims[0] * prod(offset.dims[-2:])
        columns = source.dims[1] * prod(weight.dims[2:]) * positions
        flops = 2.0 * weight.count * positions + columns * (BILINEAR_FLOPS + _POINT_FLOPS)
        outputs = weight.dims[0] * positions * source.item_bytes
        inputs = sum(each.bytes for each in (source, weight, offset, mask, bias) if each is not None)
        moved = passes * (inputs + 2 * columns * source.item_bytes) + outputs
        return Cost(passes * flops, float(moved), Arithmetic.CONVOLUTION, source.dtype)

    return rule


RULES: dict[str, Rule] = {
    "torchvision::roi_align": _roi_align,
    "torchvision::_roi_align_backward": _roi_align_backward,
    "torchvision::roi_pool": _roi_pool,
    "torchvision::_roi_pool_backward": _roi_pool_backward,
    "torchvision::nms": _nms,
    "torchvision::deform_conv2d": _deformable(0, 1),
    "torchvision::_deform_conv2d_backward": _deformable(1, 2),
}
