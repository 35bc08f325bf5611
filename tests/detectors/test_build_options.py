from __future__ import annotations

import pickle

import pytest
import torch
import torchvision
from torchvision.models import WeightsEnum
from torchvision.ops import FrozenBatchNorm2d

from autotune.detectors.build import build, describe
from autotune.detectors.input_size import set_image_size
from autotune.detectors.offline import random_weights_for_pretrained
from autotune.errors import AutotuneError, DataError, UsageError
from autotune.records import ModelSpec


def built(name="frcnn_mobilenet_320", device_type="cpu", num_classes=3, seed=0, **spec):
    return build(ModelSpec(name=name, **spec), device_type=device_type, num_classes=num_classes, seed=seed)


def losses_of(model):
    """Two images: SSDlite's last map is a single position, and batch norm needs more than one value."""
    images = [torch.rand(3, 120, 160), torch.rand(3, 160, 120)]
    target = {"boxes": torch.tensor([[10.0, 20.0, 90.0, 100.0]]), "labels": torch.tensor([1])}
    return model(images, [target] * len(images))


def test_building_leaves_torchvision_and_the_random_numbers_as_they_were():
    download, before = WeightsEnum.get_state_dict, torch.get_rng_state()
    built()
    describe("frcnn_mobilenet_320")
    assert WeightsEnum.get_state_dict is download
    assert torch.equal(torch.get_rng_state(), before)


def test_torchvision_downloads_again_after_an_error_while_building():
    download = WeightsEnum.get_state_dict
    with pytest.raises(ZeroDivisionError), random_weights_for_pretrained():
        raise ZeroDivisionError
    assert WeightsEnum.get_state_dict is download


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, second, other = (built(seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["backbone.body.16.0.weight"], other["backbone.body.16.0.weight"])


def test_frozen_statistics_are_those_of_the_activations():
    model = built().model
    frozen = [module for module in model.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert all(not torch.equal(layer.running_var, torch.ones_like(layer.running_var)) for layer in frozen)
    assert all((layer.running_var > 0).all() for layer in frozen)
    assert not list(model.backbone.body["16"][1]._forward_pre_hooks)


def test_losses_stay_finite_under_bf16_autocast():
    model = built(image_size=64).model  # few CPUs compute in bf16, the others take their time
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        losses = losses_of(model)
    assert all(loss.isfinite() for loss in losses.values())


def test_from_scratch_trains_every_layer():
    detector = built(from_scratch=True)
    assert detector.parameters == detector.trainable_parameters
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in detector.model.modules())


def test_a_gpu_gets_torchvisions_own_image_size():
    assert built("frcnn_mobilenet", "cuda").input == "shorter side 800, longer side at most 1333 px"
    assert built("frcnn_mobilenet", "cuda").notes == ()


def test_a_size_drawn_at_random_is_told_and_its_largest_counts():
    detector = built("keypointrcnn_resnet50", "cuda")
    assert detector.input == "shorter side 640 to 800 at random, longer side at most 1333 px"
    assert detector.resized(480, 640) == (800, 1066)


def test_an_image_size_sets_the_shorter_side_and_the_longer_in_proportion():
    detector = built("frcnn_mobilenet", image_size=400)
    assert detector.input == "shorter side 400, longer side at most 666 px"
    assert detector.notes == ()


@pytest.mark.parametrize("pixels", [192, 384])
def test_a_fixed_input_takes_another_image_size_and_trains(pixels):
    detector = built("ssdlite320_mobilenet", image_size=pixels)
    assert detector.input == f"{pixels} x {pixels} px"
    assert detector.resized(480, 640) == (pixels, pixels)
    losses = losses_of(detector.model)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in detector.model.parameters())


def test_an_image_size_that_leaves_the_last_layers_nothing_is_refused():
    with torch.device("meta"):
        model = torchvision.models.detection.ssd300_vgg16(weights_backbone=None)
    with pytest.raises(UsageError, match=r"ssd300_vgg16: an image size of 200 px is too small .* its own is 300 px"):
        set_image_size(model, 200, "ssd300_vgg16")


@pytest.mark.parametrize("pixels", [0, -5, 63])
def test_an_image_size_too_small_for_any_detector_is_refused(pixels):
    with pytest.raises(UsageError, match=f"image size {pixels} px"):
        built(image_size=pixels)


def test_weights_from_a_file_are_loaded_into_the_structure_for_fine_tuning(tmp_path):
    source = built(seed=5)
    torch.save(source.model.state_dict(), tmp_path / "weights.pth")
    loaded = built(weights=str(tmp_path / "weights.pth"))
    ours, theirs = loaded.model.state_dict(), source.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert loaded.trainable_parameters == source.trainable_parameters


def test_a_checkpoint_of_torchvisions_reference_training_is_read(tmp_path):
    source = built(seed=5)
    torch.save({"model": source.model.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pth")
    loaded = built(weights=str(tmp_path / "checkpoint.pth"))
    assert torch.equal(loaded.model.rpn.head.cls_logits.weight, source.model.rpn.head.cls_logits.weight)


def test_weights_of_ssdlite_are_loaded_whichever_tail_they_have(tmp_path):
    halved = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights_backbone=None, num_classes=3)
    torch.save(halved.state_dict(), tmp_path / "weights.pth")
    loaded = built("ssdlite320_mobilenet", weights=str(tmp_path / "weights.pth"))
    assert loaded.parameters == sum(p.numel() for p in halved.parameters())


def test_weights_that_do_not_fit_are_refused_by_the_first_key(tmp_path):
    state = built().model.state_dict()
    wide = {**state, "roi_heads.box_predictor.cls_score.weight": torch.zeros(7, 1024)}
    torch.save(wide, tmp_path / "seven.pth")
    with pytest.raises(AutotuneError, match=r"with 3 classes: .*cls_score.weight is of shape \(7, 1024\)"):
        built(weights=str(tmp_path / "seven.pth"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "alien.pth")
    with pytest.raises(AutotuneError, match=r"it has no backbone.body.0.0.weight"):
        built(weights=str(tmp_path / "alien.pth"))
    torch.save({**state, "one_more": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(AutotuneError, match=r"the model has no one_more"):
        built(weights=str(tmp_path / "more.pth"))


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps({"a": object}, protocol=2)])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, content):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(AutotuneError, match=r"weights.pth: cannot be read as a state dict"):
        built(weights=str(tmp_path / "weights.pth"))


def test_weights_of_something_else_are_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(AutotuneError, match=r"holds a list that is not a state dict"):
        built(weights=str(tmp_path / "list.pth"))


def test_missing_weights_are_a_wrong_path(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere.pth: no weights file there"):
        built(weights=str(tmp_path / "nowhere.pth"))


def test_a_failed_download_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(AutotuneError, match=r"frcnn_mobilenet_320: torchvision's weights could not be downloaded"):
        built(weights="default")


def test_more_classes_than_the_downloaded_weights_know_are_refused():
    with pytest.raises(DataError, match="know 91 classes, background included, and the data needs 92"):
        built(weights="default", num_classes=92)


def test_from_scratch_and_weights_exclude_each_other(tmp_path):
    with pytest.raises(UsageError, match="not both"):
        built(weights="default", from_scratch=True)


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError, match="did you mean"):
        built("frcnn_mobilnet")
