"""Pooling and upsampling, and sampling at points of a grid."""

from __future__ import annotations

from math import isfinite, prod

from autotune.probes.costs.arguments import Rule, Unreadable, flag, integers, numbers, tensor, vector_cost
from autotune.probes.costs.call import Call, Cost, Tensor
from autotune.probes.costs.shapes import window_outputs

__all__ = ["BILINEAR_FLOPS", "RULES"]

_INDEX = "long int"
# Four neighbours, each multiplied by its weight and added: as the kernels compute it; their weights come on top.
BILINEAR_FLOPS = 8
_GRID_FLOPS = 12  # a point's position and four weights, once for all channels


def _max_pool(call: Call) -> Cost:
    """max_pool2d_with_indices(self, window, stride, padding, dilation, ceil_mode): a comparison for each element of
    each window; writes maxima and their indices."""
    source = tensor(call, 0, rank=3)
    window = integers(call, 1)
    axes = len(window)
    stride = _stride(call, window)
    padding, dilation = integers(call, 3, axes), integers(call, 4, axes)
    outputs = window_outputs(source.dims[-axes:], window, stride, padding, dilation, ceil=flag(call, 5, default=False))
    written = Tensor((*source.dims[:-axes], *outputs), source.dtype)
    return vector_cost(prod(window) * written.count, [source, written, Tensor(written.dims, _INDEX)], source.dtype)


def _stride(call: Call, window: tuple[int, ...]) -> tuple[int, ...]:
    """An empty one is as long as the window."""
    return integers(call, 2, len(window)) if integers(call, 2) else window


def _average_pool(call: Call) -> Cost:
    """avg_pool2d(self, window, stride, padding, ceil_mode): a sum over each window."""
    source = tensor(call, 0, rank=3)
    window = integers(call, 1)
    axes = len(window)
    stride, padding = _stride(call, window), integers(call, 3, axes)
    outputs = window_outputs(
        source.dims[-axes:], window, stride, padding, (1,) * axes, ceil=flag(call, 4, default=False)
    )
    written = Tensor((*source.dims[:-axes], *outputs), source.dtype)
    return vector_cost(prod(window) * written.count, [source, written], source.dtype)


def _adaptive_pool(indices: bool) -> Rule:
    """(self, output sizes): each element is in one window, or in a few where the sizes do not divide."""

    def rule(call: Call) -> Cost:
        source, outputs = tensor(call, 0, rank=3), integers(call, 1)
        written = Tensor((*source.dims[: -len(outputs)], *outputs), source.dtype)
        kept = Tensor(written.dims, _INDEX) if indices else None
        return vector_cost(max(source.count, written.count), [source, written, kept], source.dtype)

    return rule


def _pool_backward(window_at: int | None, indices_at: int | None = None) -> Rule:
    """(gradient, self, ...): spreads each output's gradient over its window; a maximum's goes to its index. The input
    itself is not read."""

    def rule(call: Call) -> Cost:
        gradient, source = tensor(call, 0), tensor(call, 1)
        spread = prod(integers(call, window_at)) if window_at is not None else 1
        indices = tensor(call, indices_at) if indices_at is not None else None
        return vector_cost(spread * gradient.count, [gradient, indices, source], source.dtype)

    return rule


def _upsample(flops: int, scales_at: int) -> Rule:
    """(self, output sizes, ...), or the outer form that has scale factors instead. flops: for each output."""

    def rule(call: Call) -> Cost:
        source = tensor(call, 0, rank=3)
        written = Tensor(_upsampled(call, source, scales_at), source.dtype)
        return vector_cost(flops * written.count, [source, written], source.dtype)

    return rule


def _upsampled(call: Call, source: Tensor, scales_at: int) -> tuple[int, ...]:
    try:
        sizes = integers(call, 1)
    except Unreadable:
        scales = numbers(call, scales_at)
        if not 0 < len(scales) < len(source.dims) or not all(map(isfinite, scales)):
            raise
        sizes = tuple(int(size * by) for size, by in zip(source.dims[-len(scales) :], scales, strict=True))
    return (*source.dims[: -len(sizes)], *sizes)


def _upsample_backward(flops: int) -> Rule:
    """(gradient, output sizes, input sizes, ...): each output's gradient is added to its neighbours'."""

    def rule(call: Call) -> Cost:
        gradient, sizes = tensor(call, 0), integers(call, 2)
        return vector_cost(max(flops, 1) * gradient.count, [gradient, Tensor(sizes, gradient.dtype)], gradient.dtype)

    return rule


def _grid_sample(call: Call) -> Cost:
    """grid_sampler_2d(self (N, C, H, W), grid (N, h, w, 2), ...): reads the four neighbours of each point, but no more
    than the input."""
    source, grid = tensor(call, 0, rank=4), tensor(call, 1, rank=4)
    points = prod(grid.dims[:-1])
    written = points * source.dims[1]
    touched = min(source.count, 4 * written) * source.item_bytes
    flops = written * BILINEAR_FLOPS + points * _GRID_FLOPS
    return vector_cost(flops, float(touched + grid.bytes + written * source.item_bytes), source.dtype)


def _grid_sample_backward(call: Call) -> Cost:
    """(gradient, self, grid, ...): adds to the four neighbours, and sums the grid's gradient over the channels."""
    gradient, source, grid = tensor(call, 0), tensor(call, 1, rank=4), tensor(call, 2, rank=4)
    flops = gradient.count * (BILINEAR_FLOPS + 12) + grid.count // 2 * _GRID_FLOPS
    return vector_cost(flops, [gradient, source, source, grid, grid], source.dtype)


# aten::max_pool2d, adaptive_avg_pool2d, adaptive_max_pool2d of a module, interpolate and grid_sampler wrap these.
RULES: dict[str, Rule] = {
    "aten::max_pool2d_with_indices": _max_pool,
    "aten::max_pool3d_with_indices": _max_pool,
    "aten::avg_pool2d": _average_pool,
    "aten::avg_pool3d": _average_pool,
    "aten::_adaptive_avg_pool2d": _adaptive_pool(indices=False),
    "aten::_adaptive_avg_pool3d": _adaptive_pool(indices=False),
    "aten::adaptive_max_pool2d": _adaptive_pool(indices=True),
    "aten::max_pool2d_with_indices_backward": _pool_backward(None, indices_at=7),
    "aten::max_pool3d_with_indices_backward": _pool_backward(None, indices_at=7),
    "aten::avg_pool2d_backward": _pool_backward(2),
    "aten::avg_pool3d_backward": _pool_backward(2),
    "aten::_adaptive_avg_pool2d_backward": _pool_backward(None),
    "aten::_adaptive_avg_pool3d_backward": _pool_backward(None),
    "aten::adaptive_max_pool2d_backward": _pool_backward(None, indices_at=2),
    "aten::grid_sampler_2d": _grid_sample,
    "aten::grid_sampler_2d_backward": _grid_sample_backward,
}
# FLOPs an output: nothing; two neighbours; four; sixteen with their weights.
for _name, _flops, _scales_at in (
    ("upsample_nearest1d", 0, 2),
    ("upsample_nearest2d", 0, 2),
    ("upsample_nearest3d", 0, 2),
    ("_upsample_nearest_exact2d", 0, 2),
    ("upsample_linear1d", 4, 3),
    ("upsample_bilinear2d", BILINEAR_FLOPS, 3),
    ("_upsample_bilinear2d_aa", BILINEAR_FLOPS, 3),
    ("upsample_bicubic2d", 4 * BILINEAR_FLOPS, 3),
    ("_upsample_bicubic2d_aa", 4 * BILINEAR_FLOPS, 3),
    ("upsample_trilinear3d", 2 * BILINEAR_FLOPS, 3),
):
    RULES[f"aten::{_name}"] = _upsample(_flops, _scales_at)
    RULES[f"aten::{_name}_backward"] = _upsample_backward(_flops)
