"""Convolutions, forward and backward: dense, grouped, dilated and transposed, of any number of dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from autotune.probes.costs.arguments import Rule, flag, integer, integers, mask_of, optional_tensor, tensor
from autotune.probes.costs.call import Arithmetic, Call, Cost, Tensor
from autotune.probes.costs.shapes import window_outputs

__all__ = ["RULES"]


@dataclass(frozen=True, slots=True)
class _Order:
    """Where a convolution's schema has what; None where it has none of it."""

    stride: int
    padding: int
    dilation: int | None
    groups: int | None
    bias: int | None = None
    transposed: int | bool = False
    output_padding: int | None = None


# aten/src/ATen/native/native_functions.yaml. aten::convolution is what a trace shows around the others; they stand
# here for traces of scripted models and backends' own calls, where it is missing.
_CONVOLUTION = _Order(bias=2, stride=3, padding=4, dilation=5, transposed=6, output_padding=7, groups=8)
_CUDNN = _Order(padding=2, stride=3, dilation=4, groups=5)
_CUDNN_TRANSPOSE = _Order(padding=2, output_padding=3, stride=4, dilation=5, groups=6, transposed=True)
_MKLDNN = _Order(bias=2, padding=3, stride=4, dilation=5, groups=6)
_CUDNN_RELU = _Order(bias=2, stride=3, padding=4, dilation=5, groups=6)
_SLOW = _Order(bias=3, stride=4, padding=5, dilation=None, groups=None)
_SLOW_DILATED = _Order(bias=3, stride=4, padding=5, dilation=6, groups=None)


def _forward(order: _Order) -> Rule:
    """FLOPs: 2 x positions x weights, one more for each output that a bias is added to. A position is an output's (an
    input's where transposed), over the batch; products with padding count, as kernels compute them, and as
    torch.utils.flop_counter counts. With G groups the weights are G times fewer, so that this holds for all G."""

    def rule(call: Call) -> Cost:
        source, weight = _operands(call, 0, 1)
        axes = len(weight.dims) - 2
        stride, padding = integers(call, order.stride, axes), integers(call, order.padding, axes)
        dilation = (1,) * axes if order.dilation is None else integers(call, order.dilation, axes)
        transposed = order.transposed if isinstance(order.transposed, bool) else flag(call, order.transposed)
        groups = _groups(call, order.groups, source, weight)
        bias = None if order.bias is None else optional_tensor(call, order.bias)
        sizes, window = source.dims[-axes:], weight.dims[2:]
        if transposed:
            extra = (0,) * axes if order.output_padding is None else integers(call, order.output_padding, axes)
            outputs = _transposed_outputs(sizes, window, stride, padding, dilation, extra)
            channels = weight.dims[1] * groups
        else:
            outputs = window_outputs(sizes, window, stride, padding, dilation)
            channels = weight.dims[0]
        output = Tensor((*source.dims[: -axes - 1], channels, *outputs), source.dtype)
        positions = prod(_batch(source, axes)) * prod(sizes if transposed else outputs)
        moved = float(weight.bytes + output.bytes + (bias.bytes if bias is not None else 0))
        moved += source.bytes if transposed else _touched_bytes(source, outputs, window)
        added = output.count if bias is not None else 0
        return Cost(2.0 * positions * weight.count + added, moved, _arithmetic(source, weight, groups), source.dtype)

    return rule


def _backward(call: Call) -> Cost:
    """aten::convolution_backward: the forward's FLOPs once for each of grad-input and grad-weight that output_mask asks
    for, whatever the groups, and one addition for each output's gradient for grad-bias.

    A first layer asks for no grad-input, a frozen one for no grad-weight. Reads the output's gradient, and of weight
    and input what those need; writes what was asked for."""
    gradient = tensor(call, 0)
    source, weight = _operands(call, 1, 2)
    axes = len(weight.dims) - 2
    transposed, groups = flag(call, 7), _groups(call, 9, source, weight)
    asked = mask_of(call, 10)
    outputs, sizes = gradient.dims[-axes:], source.dims[-axes:]
    positions = prod(_batch(source, axes)) * prod(sizes if transposed else outputs)
    flops, moved = 0.0, float(gradient.bytes)
    if asked[0]:
        flops += 2.0 * positions * weight.count
        moved += weight.bytes + source.bytes
    if asked[1]:
        flops += 2.0 * positions * weight.count
        moved += weight.bytes + (source.bytes if transposed else _touched_bytes(source, outputs, weight.dims[2:]))
    if asked[2]:
        flops += gradient.count
        moved += gradient.dims[-axes - 1] * gradient.item_bytes
    return Cost(flops, moved, _arithmetic(source, weight, groups), source.dtype)


def _operands(call: Call, source: int, weight: int) -> tuple[Tensor, Tensor]:
    weights = tensor(call, weight, rank=3)
    return tensor(call, source, rank=len(weights.dims) - 1), weights


def _groups(call: Call, place: int | None, source: Tensor, weight: Tensor) -> int:
    """As recorded; where the schema has none (depthwise kernels), input channels over the weight's."""
    if place is not None:
        return integer(call, place)
    return max(source.dims[-len(weight.dims) + 1] // max(weight.dims[1], 1), 1)


def _batch(source: Tensor, axes: int) -> tuple[int, ...]:
    return source.dims[: -axes - 1]


def _transposed_outputs(
    sizes: tuple[int, ...],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    extra: tuple[int, ...],
) -> tuple[int, ...]:
    """(size - 1) stride - 2 padding + dilation (window - 1) + output_padding + 1 (torch.nn.ConvTranspose2d)."""
    return tuple(
        max((size - 1) * step - 2 * pad + spread * (wide - 1) + more + 1, 0)
        for size, wide, step, pad, spread, more in zip(sizes, window, stride, padding, dilation, extra, strict=True)
    )


def _touched_bytes(source: Tensor, outputs: tuple[int, ...], window: tuple[int, ...]) -> float:
    """What is read of the input: all of it, unless its windows leave gaps, as a 1x1 convolution of stride 2 does."""
    axes = len(window)
    read = prod(min(size, count * wide) for size, count, wide in zip(source.dims[-axes:], outputs, window, strict=True))
    return float(prod(source.dims[:-axes]) * read * source.item_bytes)


def _arithmetic(source: Tensor, weight: Tensor, groups: int) -> Arithmetic:
    """Depthwise convolution, a group for each channel, sums over one channel: nothing in it for a tensor core."""
    channels = source.dims[-len(weight.dims) + 1]
    return Arithmetic.VECTOR if groups > 1 and groups == channels else Arithmetic.CONVOLUTION


RULES: dict[str, Rule] = {
    "aten::convolution": _forward(_CONVOLUTION),
    "aten::_convolution": _forward(_CONVOLUTION),
    "aten::convolution_overrideable": _forward(_CONVOLUTION),
    "aten::cudnn_convolution": _forward(_CUDNN),
    "aten::cudnn_convolution_transpose": _forward(_CUDNN_TRANSPOSE),
    "aten::cudnn_convolution_relu": _forward(_CUDNN_RELU),
    "aten::mkldnn_convolution": _forward(_MKLDNN),
    "aten::miopen_convolution": _forward(_MKLDNN),
    "aten::_slow_conv2d_forward": _forward(_SLOW),
    "aten::slow_conv3d": _forward(_SLOW),
    "aten::slow_conv3d_forward": _forward(_SLOW),
    "aten::slow_conv_dilated2d": _forward(_SLOW_DILATED),
    "aten::_conv_depthwise2d": _forward(_SLOW_DILATED),
    "aten::conv_depthwise3d": _forward(_SLOW_DILATED),
    "aten::convolution_backward": _backward,
}
