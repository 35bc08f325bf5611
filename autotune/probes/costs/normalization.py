"""Batch, layer and group normalization, forward and backward.

FrozenBatchNorm2d has no operator of its own: it is a multiplication and an addition. Statistics of a tensor larger than
the cache take a second reading, which is left out: each input counts once.
"""

from __future__ import annotations

from math import prod

from autotune.probes.costs.arguments import (
    Rule,
    flag,
    integer,
    integers,
    mask_of,
    optional_tensor,
    tensor,
    vector_cost,
)
from autotune.probes.costs.call import Call, Cost, Tensor

__all__ = ["RULES"]

# FLOPs an element. Sum and sum of squares; then one multiply-add with the channel's scale and shift.
_STATISTICS = 3
_SCALE_AND_SHIFT = 2
# Gradients: sums of g and of g (x - mean); then (g - a - (x - mean) b) c, or g c where the statistics are constants.
_GRADIENT_SUMS = 4
_GRADIENT = 5
_GRADIENT_OF_CONSTANTS = 1


def _batch_norm(training: int | bool) -> Rule:
    """(x - mean) / deviation x weight + bias; the statistics are those of the batch in training (arXiv 1502.03167).
    training: the place of the flag in the schema, or what it always is."""

    def rule(call: Call) -> Cost:
        source = tensor(call, 0, rank=2)
        batch = training if isinstance(training, bool) else flag(call, training)
        per_element = _SCALE_AND_SHIFT + (_STATISTICS if batch else 0)
        channels = [optional_tensor(call, place) for place in range(1, 5)]
        # In training the running statistics are read and written, and the batch's own are kept for the backward pass.
        kept = channels[2:] + [Tensor((source.dims[1],), "float")] * 2 if batch else []
        return vector_cost(per_element * source.count, [source, source, *channels, *kept], source.dtype)

    return rule


def _batch_norm_backward(source_at: int, gradient_at: int, training: int | bool, mask: int | None) -> Rule:
    """Gradients of input, weight and bias; output_mask says which, as a frozen one's are not asked for."""

    def rule(call: Call) -> Cost:
        source, gradient, weight = tensor(call, source_at, rank=2), tensor(call, gradient_at), optional_tensor(call, 2)
        batch = training if isinstance(training, bool) else flag(call, training)
        asked = mask_of(call, mask)
        sums = batch or asked[1] or asked[2]
        flops = _GRADIENT_SUMS if sums else 0
        flops += 0 if not asked[0] else _GRADIENT if batch else _GRADIENT_OF_CONSTANTS
        channels = [Tensor((source.dims[1],), "float")] * 2  # mean and deviation
        written = [source if asked[0] else None, *(weight if wanted else None for wanted in asked[1:])]
        read = [gradient, source if sums else None, weight, *channels]
        return vector_cost(flops * source.count, read + written, source.dtype)

    return rule


def _layer_norm(call: Call) -> Cost:
    """The last dimensions, normalized_shape, of each row (arXiv 1607.06450); keeps two numbers a row."""
    source = tensor(call, 0, rank=1)
    rows = source.count // max(prod(integers(call, 1)), 1)
    weights = [optional_tensor(call, 2), optional_tensor(call, 3)]
    return _by_row(source, weights, rows)


def _group_norm(call: Call) -> Cost:
    """input, weight, bias, N, C, HxW, groups (arXiv 1803.08494); keeps two numbers for each group of each image."""
    weights = [optional_tensor(call, 1), optional_tensor(call, 2)]
    return _by_row(tensor(call, 0, rank=2), weights, integer(call, 3) * integer(call, 6))


def _by_row(source: Tensor, weights: list[Tensor | None], rows: int) -> Cost:
    per_element = _STATISTICS + _SCALE_AND_SHIFT + (_SCALE_AND_SHIFT if any(weights) else 0)
    kept = [Tensor((rows,), source.dtype)] * 2
    return vector_cost(per_element * source.count, [source, source, *weights, *kept], source.dtype)


def _by_row_backward(mean: int, weight_at: int, mask: int) -> Rule:
    """gradient and input come first; what was kept of each row is read again."""

    def rule(call: Call) -> Cost:
        gradient, source, kept = tensor(call, 0), tensor(call, 1), tensor(call, mean)
        weight, asked = optional_tensor(call, weight_at), mask_of(call, mask)
        flops = _GRADIENT_SUMS + (_GRADIENT if asked[0] else 0) + (_GRADIENT_SUMS if asked[1] or asked[2] else 0)
        written = [source if asked[0] else None, *(weight if wanted else None for wanted in asked[1:])]
        return vector_cost(flops * source.count, [gradient, source, weight, kept, kept, *written], source.dtype)

    return rule


# aten::batch_norm, layer_norm, group_norm and instance_norm wrap these: autocast's casts stand between.
RULES: dict[str, Rule] = {
    "aten::native_batch_norm": _batch_norm(5),
    "aten::cudnn_batch_norm": _batch_norm(5),
    "aten::miopen_batch_norm": _batch_norm(5),
    "aten::_native_batch_norm_legit": _batch_norm(5),
    "aten::_native_batch_norm_legit_no_training": _batch_norm(False),
    "aten::_batch_norm_with_update": _batch_norm(True),
    "aten::_batch_norm_no_update": _batch_norm(False),
    "aten::native_batch_norm_backward": _batch_norm_backward(1, 0, 7, 9),
    "aten::batch_norm_backward": _batch_norm_backward(1, 0, 7, 9),
    "aten::cudnn_batch_norm_backward": _batch_norm_backward(0, 1, True, None),
    "aten::miopen_batch_norm_backward": _batch_norm_backward(0, 1, True, None),
    "aten::native_layer_norm": _layer_norm,
    "aten::native_layer_norm_backward": _by_row_backward(mean=3, weight_at=5, mask=7),
    "aten::native_group_norm": _group_norm,
    "aten::native_group_norm_backward": _by_row_backward(mean=2, weight_at=4, mask=9),
}
