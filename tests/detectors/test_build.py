"""Structure, activations and input size of every detector, each built once."""

from __future__ import annotations

import gc

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d

from autotune.detectors.build import BuiltDetector, build, describe
from autotune.detectors.registry import DETECTORS
from autotune.records import ModelSpec

# Worked out by hand from torchvision's builders. frozen: FrozenBatchNorm2d layers (a ResNet-50 has 1 + 16 x 3 + 4
# norms, a MobileNetV3-Large 1 + 2 + 14 x 3 + 1). norms: BatchNorm2d layers (v2: the body's 53, the FPN's 4 + 4,
# box head's 4 and mask head's 4). trained and still: prefixes of parameters that do and do not train.
RESNET = {"trained": ("body.layer2", "body.layer3", "body.layer4"), "still": ("body.conv1", "body.layer1")}
RESNET_V2 = {"trained": RESNET["trained"], "still": (*RESNET["still"], "body.bn1")}
MOBILENET = {
    "trained": tuple(f"body.{index}." for index in range(7, 17)),
    "still": tuple(f"body.{index}." for index in range(7)),
}
EXPECTED = {
    "frcnn_mobilenet": {"frozen": 46, "norms": 0, **MOBILENET},
    "frcnn_mobilenet_320": {"frozen": 46, "norms": 0, **MOBILENET},
    "frcnn_resnet50": {"frozen": 53, "norms": 0, **RESNET},
    "frcnn_resnet50_v2": {"frozen": 0, "norms": 53 + 8 + 4, **RESNET_V2},
    "retinanet_resnet50": {"frozen": 53, "norms": 0, **RESNET},
    "retinanet_resnet50_v2": {"frozen": 0, "norms": 53, **RESNET_V2},
    "fcos_resnet50": {"frozen": 53, "norms": 0, **RESNET},
    "ssd300_vgg16": {
        "frozen": 0,
        "norms": 0,
        "still": ("features.0.", "features.2."),
        "trained": ("features.5.", "features.7.", "features.21.", "extra.", "scale_weight"),
    },
    "ssdlite320_mobilenet": {"frozen": 0, "norms": None, "still": (), "trained": ("features.0.0.", "extra.")},
    "maskrcnn_resnet50": {"frozen": 53, "norms": 0, **RESNET},
    "maskrcnn_resnet50_v2": {"frozen": 0, "norms": 53 + 8 + 4 + 4, **RESNET_V2},
    "keypointrcnn_resnet50": {"frozen": 53, "norms": 0, **RESNET},
}


@pytest.fixture(scope="module", params=[detector.name for detector in DETECTORS])
def built(request) -> BuiltDetector:
    yield build(ModelSpec(name=request.param), device_type="cpu", num_classes=3, seed=0)
    gc.collect()  # a detector holds cycles, and a dozen of them much memory


def image_and_target():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 10, 10, generator=generator)
    image = nn.functional.interpolate(coarse, size=(320, 320), mode="bilinear")[0]
    masks = torch.zeros(2, 320, 320, dtype=torch.uint8)
    masks[0, 20:300, 10:200] = masks[1, 100:180, 200:310] = 1
    target = {
        "boxes": torch.tensor([[10.0, 20.0, 200.0, 300.0], [200.0, 100.0, 310.0, 180.0]]),
        "labels": torch.tensor([1, 2]),
        "masks": masks,
        "keypoints": torch.tensor([[[100.0, 100.0, 1.0]] * 17, [[250.0, 150.0, 1.0]] * 17]),
    }
    return image, target


def test_the_structure_is_the_one_that_torchvision_fine_tunes(built):
    expected = EXPECTED[built.name]
    modules = list(built.model.modules())
    assert sum(isinstance(module, FrozenBatchNorm2d) for module in modules) == expected["frozen"]
    if expected["norms"] is not None:
        assert sum(isinstance(module, nn.BatchNorm2d) for module in modules) == expected["norms"]
    assert built.model.training
    for name, parameter in built.model.backbone.named_parameters():
        if name.startswith(expected["still"]):
            assert not parameter.requires_grad, name
    for prefix in expected["trained"]:
        group = [p for name, p in built.model.backbone.named_parameters() if name.startswith(prefix)]
        assert group, prefix
        assert all(parameter.requires_grad for parameter in group), prefix
    outside = [p for name, p in built.model.named_parameters() if not name.startswith("backbone.")]
    assert all(parameter.requires_grad for parameter in outside)


def test_parameters_are_counted_as_torchvision_publishes_them(built):
    name = next(detector.torchvision_name for detector in DETECTORS if detector.name == built.name)
    published = torchvision.models.get_model_weights(name).DEFAULT.meta
    parameters, trainable, _ = describe(built.name)
    if built.name == "ssdlite320_mobilenet":  # published for the halved tail of a backbone that was not pretrained
        assert parameters > published["num_params"]
    else:
        assert parameters == published["num_params"]
    assert trainable <= parameters
    assert built.trainable_parameters - built.parameters == trainable - parameters


def test_losses_are_finite_and_activations_far_from_the_limits_of_half_precision(built):
    image, target = image_and_target()
    largest = {}

    def watch(name):
        def keep(module, inputs, output):
            if isinstance(output, torch.Tensor) and output.numel():
                largest[name] = output.detach().abs().max().item()

        return keep

    hooks = [module.register_forward_hook(watch(name)) for name, module in built.model.named_modules()]
    if hasattr(built.model, "roi_heads"):  # fewer proposals say the same, sooner
        built.model.roi_heads.fg_bg_sampler.batch_size_per_image = 16
    # Two images: SSDlite's last map is a single position, and batch norm needs more than one value.
    images = [image, image.flip(2)] if built.name.startswith("ssdlite") else [image]
    with torch.no_grad():
        losses = built.model(images, [target] * len(images))
    for hook in hooks:
        hook.remove()
    assert all(loss.isfinite() for loss in losses.values()), losses
    assert max(largest.values()) < 1000, max(largest, key=largest.get)
    assert min(largest.values()) > 1e-3, min(largest, key=largest.get)


def test_the_size_foretold_is_the_size_that_the_transform_makes(built):
    transform = next(module for module in built.model.modules() if isinstance(module, GeneralizedRCNNTransform))
    for height, width in ((480, 640), (640, 427), (333, 500), (200, 1999), (1333, 2000), (17, 23)):
        batch, _ = transform([torch.rand(3, height, width)])
        assert batch.image_sizes == [built.resized(height, width)]


def test_what_is_needed_beside_boxes_is_told(built):
    assert built.needs_masks == built.name.startswith("maskrcnn")
    assert built.needs_keypoints == built.name.startswith("keypointrcnn")


def test_images_are_small_on_a_cpu_and_a_note_says_so(built):
    expected = {
        "ssd300_vgg16": ("300 x 300 px", 0),
        "ssdlite320_mobilenet": ("320 x 320 px", 0),
        "frcnn_mobilenet_320": ("shorter side 320, longer side at most 640 px", 0),
    }
    words, notes = expected.get(built.name, ("shorter side 320, longer side at most 533 px", 1))
    assert built.input == words
    assert len(built.notes) == notes
    assert all("320 px" in note and "800 px" in note for note in built.notes)
