"""Faster R-CNN's forward pass at 800x800, as it ran on the CPU, against a count by hand over its layers' shapes."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from autotune.probes.costs import Arithmetic, Tensor


@pytest.fixture(scope="module")
def priced(price):
    torch.manual_seed(0)
    model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=800, max_size=800).eval()
    with torch.inference_mode():
        return price(lambda: model([torch.rand(3, 800, 800)]))


def convolution(window: int, channels: int, filters: int, size: int) -> int:
    return 2 * window**2 * channels * filters * size**2


def body() -> int:
    """ResNet-50 (arXiv 1512.03385, table 1), the strides in the 3x3 convolutions, as torchvision has it."""
    flops = convolution(7, 3, 64, 400)
    channels, size = 64, 200
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            outputs = 200 * 64 // width  # 200, 100, 50, 25
            flops += convolution(1, channels, width, size)
            flops += convolution(3, width, width, outputs)
            flops += convolution(1, width, 4 * width, outputs)
            if block == 0:
                flops += convolution(1, channels, 4 * width, outputs)
            channels, size = 4 * width, outputs
    return flops


def pyramid() -> int:
    """A lateral 1x1 and a 3x3 convolution on each of four levels; the fifth is pooled."""
    return sum(
        convolution(1, channels, 256, size) + convolution(3, 256, 256, size)
        for channels, size in ((256, 200), (512, 100), (1024, 50), (2048, 25))
    )


def proposals() -> int:
    """A 3x3 convolution and two 1x1, to 3 scores and 12 offsets, on each of five levels."""
    return sum(convolution(3, 256, 256, size) + convolution(1, 256, 3 + 12, size) for size in (200, 100, 50, 25, 13))


def heads(regions: int) -> int:
    return 2 * regions * (256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * (91 + 4 * 91))


def test_the_layers_flops_are_those_of_a_count_by_hand(priced):
    regions = sum(
        call.arguments[1].dims[0]
        for call, _ in priced.costed
        if call.name == "torchvision::roi_align" and isinstance(call.arguments[1], Tensor)
    )
    assert 100 < regions <= 1000
    modelled = sum(cost.flops for _, cost in priced.costed if cost.arithmetic is not Arithmetic.VECTOR)
    by_hand = body() + pyramid() + proposals() + heads(regions)
    # The project's bar is 1%. What is between them is the biases, 0.03%.
    assert modelled == pytest.approx(by_hand, rel=0.001)


def test_the_body_costs_what_the_literature_says():
    """4.1 G multiply-adds at 224x224 (torchvision's model card: 4.09 GFLOPS, its last layer 2 M of them)."""
    assert body() / 2 * (224 / 800) ** 2 == pytest.approx(4.09e9, rel=0.01)


def test_nothing_that_runs_is_without_a_cost(priced):
    """Wrappers that found nothing to do are all that is left."""
    assert {call.name for call in priced.unmodelled} <= {"aten::to", "aten::flatten", "aten::reshape"}


def test_what_no_tensor_core_does_is_a_small_part_of_the_flops(priced):
    total = sum(cost.flops for _, cost in priced.costed)
    assert 0 < sum(cost.flops for _, cost in priced.costed if cost.arithmetic is Arithmetic.VECTOR) < 0.02 * total
