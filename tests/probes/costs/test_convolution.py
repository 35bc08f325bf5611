"""Convolutions against figures worked by hand, and against PyTorch's own counter where that is right."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autotune.probes.costs import Arithmetic, Call, Cost, Tensor, cost_of


def float_tensor(*dims: int) -> Tensor:
    return Tensor(dims, "float")


def forward(
    source: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    transposed: bool = False,
    groups: int = 1,
) -> Cost:
    arguments = (
        *(source, weight, bias),
        *(f"[{value}, {value}]" for value in (stride, padding, dilation)),
        *(str(transposed), "[0, 0]", str(groups)),
    )
    cost = cost_of(Call("aten::convolution", arguments))
    assert cost is not None
    return cost


def backward(gradient: Tensor, source: Tensor, weight: Tensor, mask: str, groups: int = 1, **options: object) -> Cost:
    arguments = (
        *(gradient, source, weight, f"[{gradient.dims[1]}]"),
        *("[1, 1]", "[1, 1]", "[1, 1]", str(options.get("transposed", False)), "[0, 0]", str(groups), mask),
    )
    cost = cost_of(Call("aten::convolution_backward", arguments))
    assert cost is not None
    return cost


# A 3x3 convolution of 2 images of 8 channels, 10x10, to 16: 2 * 9 * 8 * 16 = 2304 FLOPs a position.
KINDS = [
    pytest.param({}, (16, 8, 3, 3), 2 * 8 * 8 * 2304, id="dense"),
    pytest.param({"padding": 1}, (16, 8, 3, 3), 2 * 10 * 10 * 2304, id="padded"),
    pytest.param({"stride": 2, "padding": 1}, (16, 8, 3, 3), 2 * 5 * 5 * 2304, id="strided"),
    pytest.param({"dilation": 2}, (16, 8, 3, 3), 2 * 6 * 6 * 2304, id="dilated"),
    pytest.param({"padding": 1, "groups": 4}, (16, 2, 3, 3), 2 * 10 * 10 * 2304 // 4, id="grouped"),
    pytest.param({"padding": 1, "groups": 8}, (8, 1, 3, 3), 2 * 10 * 10 * 2 * 9 * 8, id="depthwise"),
    pytest.param({"stride": 2, "transposed": True}, (8, 16, 3, 3), 2 * 10 * 10 * 2304, id="transposed"),
    pytest.param({"transposed": True, "groups": 4}, (8, 4, 3, 3), 2 * 10 * 10 * 2304 // 4, id="transposed and grouped"),
]


@pytest.mark.parametrize(("options", "weight", "flops"), KINDS)
def test_a_forward_convolution_costs_two_for_each_weight_and_position(options, weight, flops):
    assert forward(float_tensor(2, 8, 10, 10), float_tensor(*weight), **options).flops == flops


@pytest.mark.parametrize(
    ("options", "weight", "outputs"),
    [
        ({"padding": 1}, (16, 8, 3, 3), 2 * 16 * 10 * 10),
        ({"stride": 2, "transposed": True}, (8, 16, 3, 3), 2 * 16 * 21 * 21),
        ({"stride": 2, "padding": 1, "transposed": True}, (8, 16, 3, 3), 2 * 16 * 19 * 19),
    ],
)
def test_it_reads_its_input_and_weight_once_and_writes_its_output_once(options, weight, outputs):
    cost = forward(float_tensor(2, 8, 10, 10), float_tensor(*weight), **options)
    assert cost.bytes == 4 * (2 * 8 * 10 * 10 + 16 * 8 * 3 * 3 + outputs)


def test_half_precision_halves_the_bytes_and_not_the_flops():
    shapes = (2, 8, 10, 10), (16, 8, 3, 3)
    half = forward(*(Tensor(dims, "c10::Half") for dims in shapes))
    whole = forward(*(Tensor(dims, "float") for dims in shapes))
    assert (half.flops, half.bytes, half.dtype) == (whole.flops, whole.bytes / 2, "c10::Half")


def test_a_1x1_convolution_of_stride_2_reads_a_quarter_of_its_input():
    cost = forward(float_tensor(1, 256, 200, 200), float_tensor(512, 256, 1, 1), stride=2)
    assert cost.bytes == 4 * (256 * 100 * 100 + 256 * 512 + 512 * 100 * 100)


def test_a_bias_is_added_once_to_each_output():
    plain = forward(float_tensor(2, 8, 10, 10), float_tensor(16, 8, 3, 3))
    biased = forward(float_tensor(2, 8, 10, 10), float_tensor(16, 8, 3, 3), bias=float_tensor(16))
    assert biased.flops - plain.flops == 2 * 16 * 8 * 8
    assert biased.bytes - plain.bytes == 4 * 16


@pytest.mark.parametrize(
    ("mask", "times"),
    [
        pytest.param("[True, True, False]", 2, id="both"),
        pytest.param("[False, True, False]", 1, id="first layer"),
        pytest.param("[True, False, False]", 1, id="frozen"),
        pytest.param("[False, False, False]", 0, id="nothing asked"),
    ],
)
def test_the_backward_follows_the_output_mask(mask, times):
    source, weight, output = float_tensor(2, 8, 10, 10), float_tensor(16, 8, 3, 3), float_tensor(2, 16, 10, 10)
    assert backward(output, source, weight, mask).flops == times * forward(source, weight, padding=1).flops


def test_the_backward_reads_what_it_needs_and_writes_what_is_asked():
    source, weight, output = float_tensor(2, 8, 10, 10), float_tensor(16, 8, 3, 3), float_tensor(2, 16, 10, 10)
    of_input = backward(output, source, weight, "[True, False, False]")
    of_weight = backward(output, source, weight, "[False, True, False]")
    of_all = backward(output, source, weight, "[True, True, True]")
    # Reads the gradient and the weight, and writes the input's; or the input, and writes the weight's.
    assert of_input.bytes == of_weight.bytes == output.bytes + weight.bytes + source.bytes
    assert of_all.bytes == output.bytes + 2 * weight.bytes + 2 * source.bytes + 16 * 4
    assert of_all.flops == of_input.flops + of_weight.flops + output.count


@pytest.mark.parametrize(("groups", "ratio"), [(1, 2.0), (4, 2.0), (64, 2.0)])
def test_the_backward_costs_twice_the_forward_whatever_the_groups(groups, ratio):
    source, output = float_tensor(2, 64, 10, 10), float_tensor(2, 64, 10, 10)
    weight = float_tensor(64, 64 // groups, 3, 3)
    cost = backward(output, source, weight, "[True, True, False]", groups)
    assert cost.flops / forward(source, weight, padding=1, groups=groups).flops == ratio


def test_a_transposed_convolutions_backward_costs_twice_its_forward():
    source, weight, output = float_tensor(2, 8, 10, 10), float_tensor(8, 16, 2, 2), float_tensor(2, 16, 20, 20)
    cost = backward(output, source, weight, "[True, True, False]", transposed=True)
    assert cost.flops == 2 * forward(source, weight, stride=2, transposed=True).flops == 4 * 2 * 100 * 8 * 16 * 4


@pytest.mark.parametrize(
    ("groups", "arithmetic"),
    [(1, Arithmetic.CONVOLUTION), (4, Arithmetic.CONVOLUTION), (8, Arithmetic.VECTOR)],
)
def test_depthwise_convolution_alone_has_nothing_for_a_tensor_core(groups, arithmetic):
    source, weight = float_tensor(2, 8, 10, 10), float_tensor(8, 8 // groups, 3, 3)
    assert forward(source, weight, padding=1, groups=groups).arithmetic is arithmetic
    assert backward(source, source, weight, "[True, True, False]", groups).arithmetic is arithmetic


def test_a_convolution_of_one_channel_is_dense():
    cost = forward(float_tensor(2, 1, 10, 10), float_tensor(8, 1, 3, 3))
    assert cost.arithmetic is Arithmetic.CONVOLUTION


BACKENDS = [
    ("aten::_convolution", (None, "[2, 2]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1", "True", "False", "True")),
    ("aten::cudnn_convolution", ("[1, 1]", "[2, 2]", "[1, 1]", "1", "True", "False", "True")),
    ("aten::mkldnn_convolution", (None, "[1, 1]", "[2, 2]", "[1, 1]", "1")),
    ("aten::_slow_conv2d_forward", ("[3, 3]", None, "[2, 2]", "[1, 1]")),
    ("aten::slow_conv_dilated2d", ("[3, 3]", None, "[2, 2]", "[1, 1]", "[1, 1]")),
]


@pytest.mark.parametrize(("name", "options"), BACKENDS)
def test_a_backends_own_operator_costs_what_the_convolution_around_it_does(name, options):
    source, weight = float_tensor(2, 8, 10, 10), float_tensor(16, 8, 3, 3)
    assert cost_of(Call(name, (source, weight, *options))) == forward(source, weight, stride=2, padding=1)


@pytest.mark.parametrize("axes", [1, 3])
def test_convolutions_of_other_numbers_of_dimensions(axes):
    ones = str([1] * axes)
    source, weight = float_tensor(2, 8, *[10] * axes), float_tensor(16, 8, *[3] * axes)
    zeros = str([0] * axes)
    cost = cost_of(Call("aten::convolution", (source, weight, None, ones, ones, ones, "False", zeros, "1")))
    assert cost is not None
    assert cost.flops == 2 * 2 * 10**axes * 3**axes * 8 * 16


@pytest.mark.parametrize("first_layer", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_dense_convolution_agrees_with_pytorchs_counter(price, first_layer, stride):
    layer = torch.nn.Conv2d(3, 8, 3, stride=stride, padding=1, bias=False)
    images = torch.randn(2, 3, 16, 16, requires_grad=not first_layer)

    def step() -> None:
        layer(images).sum().backward()

    with FlopCounterMode(display=False) as counter:
        step()
    priced = price(step)
    ours = sum(cost.flops for _, cost in priced.costed if cost.arithmetic is Arithmetic.CONVOLUTION)
    assert ours == counter.get_total_flops()
