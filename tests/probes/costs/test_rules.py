"""The table of rules as a whole: its names are PyTorch's, no rule stands twice, and none raises."""

from __future__ import annotations

import random

import pytest
import torch
import torchvision  # noqa: F401  registers its operators

from autotune.probes import costs
from autotune.probes.costs import Argument, Call, Tensor, cost_of

PYTHON_NAMES = {"detach", "detach_"}


def test_no_operator_has_two_rules():
    assert sum(len(family.RULES) for family in costs._FAMILIES) == len(costs._RULES)


def test_every_rule_is_for_an_operator_that_exists():
    namespaces = {"aten": torch.ops.aten, "torchvision": torch.ops.torchvision, "mkldnn": torch.ops.mkldnn}
    for name in costs._RULES.keys() - PYTHON_NAMES:
        namespace, _, operator = name.partition("::")
        assert hasattr(namespaces[namespace], operator), name


# Where the rules read what; a change of PyTorch's schemas must not go unseen.
PLACES = {
    "aten.convolution": {"stride": 3, "padding": 4, "dilation": 5, "transposed": 6, "output_padding": 7, "groups": 8},
    "aten.convolution_backward": {"grad_output": 0, "input": 1, "weight": 2, "transposed": 7, "groups": 9}
    | {"output_mask": 10},
    "aten.cudnn_convolution": {"padding": 2, "stride": 3, "dilation": 4, "groups": 5},
    "aten.cudnn_convolution_transpose": {"padding": 2, "output_padding": 3, "stride": 4, "dilation": 5, "groups": 6},
    "aten.mkldnn_convolution": {"bias": 2, "padding": 3, "stride": 4, "dilation": 5, "groups": 6},
    "aten._conv_depthwise2d": {"bias": 3, "stride": 4, "padding": 5, "dilation": 6},
    "aten._scaled_dot_product_flash_attention": {"is_causal": 4},
    "aten._scaled_dot_product_efficient_attention": {"attn_bias": 3, "is_causal": 6},
    "aten._scaled_dot_product_cudnn_attention": {"attn_bias": 3, "is_causal": 6},
    "aten._scaled_dot_product_flash_attention_backward": {"query": 1, "is_causal": 11},
    "aten._scaled_dot_product_flash_attention_for_cpu_backward": {"query": 1, "is_causal": 7},
    "aten._scaled_dot_product_efficient_attention_backward": {"query": 1, "attn_bias": 4, "is_causal": 11},
    "aten._scaled_dot_product_cudnn_attention_backward": {"query": 1, "attn_bias": 8, "is_causal": 14},
    "aten.native_batch_norm": {"running_mean": 3, "training": 5},
    "aten.native_batch_norm_backward": {"grad_out": 0, "input": 1, "weight": 2, "train": 7, "output_mask": 9},
    "aten.cudnn_batch_norm_backward": {"input": 0, "grad_output": 1, "weight": 2},
    "aten.batch_norm_backward": {"grad_out": 0, "input": 1, "update": 7, "output_mask": 9},
    "aten.native_layer_norm_backward": {"grad_out": 0, "input": 1, "mean": 3, "weight": 5, "output_mask": 7},
    "aten.native_group_norm": {"weight": 1, "bias": 2, "N": 3, "group": 6},
    "aten.native_group_norm_backward": {"mean": 2, "weight": 4, "output_mask": 9},
    "aten.max_pool2d_with_indices": {"kernel_size": 1, "stride": 2, "padding": 3, "dilation": 4, "ceil_mode": 5},
    "aten.max_pool2d_with_indices_backward": {"grad_output": 0, "self": 1, "indices": 7},
    "aten.avg_pool2d": {"kernel_size": 1, "stride": 2, "padding": 3, "ceil_mode": 4},
    "aten.upsample_bilinear2d_backward": {"grad_output": 0, "output_size": 1, "input_size": 2},
    "aten.nll_loss_backward": {"grad_output": 0, "self": 1, "target": 2},
    "aten.binary_cross_entropy": {"weight": 2, "reduction": 3},
    "aten.smooth_l1_loss": {"reduction": 2},
    "aten.index_put_": {"values": 2, "accumulate": 3},
    "aten.elu_backward": {"grad_output": 0, "self_or_result": 5},
    "torchvision.roi_align": {"rois": 1, "pooled_height": 3, "pooled_width": 4, "sampling_ratio": 5},
    "torchvision._roi_align_backward": {"batch_size": 5, "channels": 6, "height": 7, "width": 8, "sampling_ratio": 9},
    "torchvision._roi_pool_backward": {"argmax": 2, "batch_size": 6, "width": 9},
    "torchvision.deform_conv2d": {"input": 0, "weight": 1, "offset": 2, "mask": 3, "bias": 4},
    "torchvision._deform_conv2d_backward": {"grad": 0, "input": 1, "weight": 2, "offset": 3},
}


@pytest.mark.parametrize("name", PLACES)
def test_the_rules_read_where_the_schema_has_it(name):
    namespace, _, operator = name.partition(".")
    schema = getattr(getattr(torch.ops, namespace), operator).default._schema
    places = {argument.name: place for place, argument in enumerate(schema.arguments)}
    assert {key: places[key] for key in PLACES[name]} == PLACES[name]


@pytest.mark.parametrize(
    "name",
    [
        *("aten::conv2d", "aten::linear", "aten::matmul", "aten::einsum", "aten::batch_norm", "aten::to"),
        *("aten::_to_copy", "aten::reshape", "aten::contiguous", "aten::softmax", "aten::layer_norm"),
        *("aten::cross_entropy_loss", "aten::scaled_dot_product_attention", "torch::autograd::AccumulateGrad"),
        *("ConvolutionBackward0", "autograd::engine::evaluate_function: ConvolutionBackward0", "Optimizer.step"),
    ],
)
def test_what_wraps_others_has_no_cost_of_its_own(name):
    source = Tensor((4, 4), "float")
    assert cost_of(Call(name, (source, source, None, "[1, 1]"))) is None


def _odd(generator: random.Random) -> Argument:
    dims = tuple(generator.choice((0, 1, 2, 3, 7)) for _ in range(generator.randrange(6)))
    dtype = generator.choice(("float", "c10::Half", "long int", "bool", "Float8", ""))
    return generator.choice(
        (
            *(Tensor(dims, dtype),) * 4,
            (Tensor(dims, dtype), Tensor((2, 3), dtype)),
            (),
            None,
            *("0", "1", "-1", "2.5", "[]", "[2, 2]", "[0, 0]", "[1, 1, 1]", "[-9]", "True", "nan", "inf", "odd"),
            "[True, False, True]",
        )
    )


@pytest.mark.parametrize("seed", range(5))
def test_no_call_however_odd_raises_or_costs_less_than_nothing(seed):
    generator = random.Random(seed)
    for name in sorted(costs._RULES):
        for _ in range(40):
            call = Call(name, tuple(_odd(generator) for _ in range(generator.randrange(12))))
            cost = cost_of(call)
            assert cost is None or (0 <= cost.flops < float("inf") and 0 <= cost.bytes < float("inf")), call
