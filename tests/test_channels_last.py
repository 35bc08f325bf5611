from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from autotune.channels_last import use_channels_last


class Detector(nn.Module):
    """The smallest thing that batches as torchvision's detectors do."""

    def __init__(self):
        super().__init__()
        self.transform = GeneralizedRCNNTransform(32, 64, [0.5] * 3, [0.5] * 3)
        self.backbone = nn.Conv2d(3, 8, 3)

    def forward(self, images, targets=None):
        batch, targets = self.transform(images, targets)
        return batch, self.backbone(batch.tensors)


def is_channels_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def test_the_batch_of_a_detector_reaches_the_backbone_in_channels_last():
    model = use_channels_last(Detector())
    target = {"boxes": torch.tensor([[1.0, 1.0, 5.0, 6.0]])}
    batch, features = model([torch.rand(3, 40, 50)], [target])
    assert is_channels_last(model.backbone.weight)
    assert is_channels_last(batch.tensors)
    assert is_channels_last(features)
    assert batch.image_sizes == [(32, 40)]


def test_the_values_stay_the_same():
    model = Detector()
    images = [torch.rand(3, 40, 50), torch.rand(3, 50, 40)]
    before = model(images)[1]
    assert torch.allclose(use_channels_last(model)(images)[1], before, atol=1e-6)


@pytest.mark.parametrize("build", [Detector, lambda: nn.Sequential(nn.Conv2d(3, 8, 3))])
def test_asking_twice_adds_nothing_even_to_a_copy(build):
    model = use_channels_last(copy.deepcopy(use_channels_last(build())))
    hooks = sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())
    assert hooks == 1


def test_the_input_of_another_model_is_turned_before_its_first_convolution():
    model = use_channels_last(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    assert is_channels_last(model(torch.rand(2, 3, 9, 9)))
    assert model(torch.rand(3, 9, 9)).shape == (8, 7, 7)


def test_a_model_without_convolutions_is_left_alone():
    model = use_channels_last(nn.Linear(3, 4))
    assert model(torch.rand(2, 3)).shape == (2, 4)


def test_keypoint_heatmaps_stay_contiguous_for_torchvisions_loss():
    model = use_channels_last(nn.Sequential(nn.Conv2d(3, 8, 3), KeypointRCNNPredictor(8, 17)))
    assert model(torch.rand(2, 3, 9, 9)).is_contiguous()
