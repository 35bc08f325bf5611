"""A small detector's training step as torch.profiler exported it: all of it has a cost, and nothing has two."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import torchvision
from torch import nn

from autotune.probes.costs import Arithmetic, Tensor

IMAGES, REGIONS = 2, 20


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.dilated = nn.Conv2d(8, 16, 3, padding=2, dilation=2, bias=False)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.grouped = nn.Conv2d(16, 16, 3, groups=4, bias=False)
        self.group_norm = nn.GroupNorm(4, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2, bias=False)
        self.box = nn.Linear(8 * 7 * 7, 32)
        self.layer_norm = nn.LayerNorm(32)
        self.score = nn.Linear(32, 5)

    def forward(self, images: torch.Tensor, regions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = F.relu(self.norm(self.stem(images)))
        x = F.max_pool2d(F.silu(self.dilated(x)), 2)
        x = self.group_norm(self.grouped(F.hardswish(self.depthwise(x))))
        x = self.up(F.interpolate(x, scale_factor=2))
        pooled = torchvision.ops.roi_align(x, regions, 7, 0.5, 2)
        boxes = self.layer_norm(F.gelu(self.box(pooled.flatten(1))))
        keep = torchvision.ops.batched_nms(regions[:, 1:], boxes.sum(1), regions[:, 0].long(), 0.5)
        return self.score(boxes), boxes[keep]


@pytest.fixture(scope="module")
def priced(price):
    torch.manual_seed(0)
    model = Detector()
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
    images = torch.randn(IMAGES, 3, 64, 64)
    corners = torch.rand(REGIONS, 2) * 20
    regions = torch.cat([torch.arange(REGIONS).remainder(2).view(-1, 1).float(), corners, corners + 10], 1)

    def step() -> None:
        scores, boxes = model(images, regions)
        loss = F.cross_entropy(scores, torch.zeros(REGIONS, dtype=torch.long))
        loss = loss + F.smooth_l1_loss(boxes, torch.zeros_like(boxes)) + F.mse_loss(boxes, torch.ones_like(boxes))
        loss = loss + F.binary_cross_entropy_with_logits(scores[:, 0], torch.ones(REGIONS))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()  # the optimizer's state is made in its first
    return price(step)


def forward_flops() -> dict[str, int]:
    """By hand, biases left out; the images are 64x64."""
    return {
        "stem": 2 * IMAGES * 32**2 * 9 * 3 * 8,
        "dilated": 2 * IMAGES * 32**2 * 9 * 8 * 16,
        "depthwise": 2 * IMAGES * 16**2 * 9 * 16,
        "grouped": 2 * IMAGES * 14**2 * 9 * 16 * 16 // 4,
        "up": 2 * IMAGES * 28**2 * 16 * 8 * 4,
        "box": 2 * REGIONS * 8 * 49 * 32,
        "score": 2 * REGIONS * 32 * 5,
    }


def test_the_layers_cost_three_times_their_forward_but_for_the_first(priced):
    by_hand = forward_flops()
    names = {"aten::convolution", "aten::convolution_backward", "aten::addmm", "aten::mm"}
    modelled = sum(cost.flops for call, cost in priced.costed if call.name in names)
    biases = IMAGES * 8 * 32**2 * 2 + REGIONS * (32 + 5)
    assert modelled == 3 * sum(by_hand.values()) - by_hand["stem"] + biases


def test_depthwise_convolution_is_apart_from_what_tensor_cores_do(priced):
    vector = [
        cost.flops
        for call, cost in priced.costed
        if "convolution" in call.name and cost.arithmetic is Arithmetic.VECTOR
    ]
    depthwise = forward_flops()["depthwise"]
    assert sorted(vector) == [depthwise, 2 * depthwise]


def test_each_layer_is_counted_once(priced):
    names = [call.name for call, _ in priced.costed]
    assert names.count("aten::convolution") == names.count("aten::convolution_backward") == 5
    assert not {"aten::_convolution", "aten::mkldnn_convolution", "aten::clamp_min"} & set(names)
    assert names.count("torchvision::roi_align") == names.count("torchvision::_roi_align_backward") == 1
    assert names.count("torchvision::nms") == 1


def test_the_optimizer_touches_every_parameter(priced):
    parameters = sum(parameter.numel() for parameter in Detector().parameters())
    updates = [call for call, _ in priced.costed if call.name == "aten::_foreach_addcdiv_"]
    counted = [
        tensor.count
        for call in updates
        if isinstance(call.arguments[0], tuple)
        for tensor in call.arguments[0]
        if isinstance(tensor, Tensor)
    ]
    assert sum(counted) == parameters


def test_all_that_is_without_a_cost_does_nothing(priced):
    """A cast to the type it has already, and autograd nodes that pass a gradient on."""
    left = {call.name for call in priced.unmodelled if not call.name.endswith("Backward0")}
    assert left <= {"aten::to", "aten::flatten", "aten::reshape", "aten::contiguous"}
