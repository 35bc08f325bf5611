from __future__ import annotations

import sys

import pytest
import torch
import torchvision
from torch import nn

from autotune.detectors.build import build
from autotune.errors import AutotuneError, UsageError
from autotune.records import ModelSpec

MODULE = """
import torch
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

def detector():
    return fasterrcnn_mobilenet_v3_large_320_fpn(weights_backbone=None, num_classes=4)

class Wrapped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = detector()

def plain():
    return torch.nn.Conv2d(3, 8, 3)

def failing():
    raise ValueError("no such backbone")

def nothing():
    return 7

number = 7
"""


@pytest.fixture
def in_project(tmp_path, monkeypatch):
    """A folder with the user's module, as the working directory."""
    (tmp_path / "my_model_of_test.py").write_text(MODULE)
    (tmp_path / "broken_of_test.py").write_text("1 / 0")
    (tmp_path / "needy_of_test.py").write_text("import package_that_is_not_there")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("my_model_of_test", "broken_of_test", "needy_of_test"):
        sys.modules.pop(name, None)


def built(name, **spec):
    return build(ModelSpec(name=name, **spec), device_type="cpu", num_classes=4, seed=0)


def test_a_factory_in_the_working_directory_is_found_and_its_model_left_alone(in_project):
    detector = built("my_model_of_test:detector")
    assert detector.name == "my_model_of_test:detector"
    assert detector.model.training
    assert detector.parameters == detector.trainable_parameters
    assert detector.input == "shorter side 320, longer side at most 640 px"
    assert detector.notes == ()


def test_a_factory_draws_the_same_weights_from_the_same_seed(in_project):
    first, second = (built("my_model_of_test:plain").model.weight for _ in range(2))
    assert torch.equal(first, second)


def test_an_image_size_is_set_in_the_models_own_transform(in_project):
    assert built("my_model_of_test:Wrapped", image_size=160).resized(480, 640) == (160, 213)


def test_an_image_size_cannot_be_set_in_a_model_that_resizes_otherwise(in_project):
    assert built("my_model_of_test:plain").input == "as the model takes it"
    assert built("my_model_of_test:plain").resized(480, 640) == (480, 640)
    with pytest.raises(UsageError, match="cannot be set from here"):
        built("my_model_of_test:plain", image_size=160)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no_module_of_that_name:build", "no module named 'no_module_of_that_name'"),
        ("needy_of_test:build", "no module named 'package_that_is_not_there'"),
        ("broken_of_test:build", "importing broken_of_test failed with ZeroDivisionError: division by zero"),
        ("my_model_of_test:absent", "my_model_of_test has no 'absent'"),
        ("my_model_of_test:failing", "the factory failed with ValueError: no such backbone"),
        ("my_model_of_test:nothing", "the factory returned a int, not a torch.nn.Module"),
        ("my_model_of_test:number", "a int is neither a model nor a function"),
        (":build", "write it as package.module:factory"),
        ("my_model_of_test:", "write it as package.module:factory"),
    ],
)
def test_a_factory_that_does_not_do_is_one_sentence(in_project, name, sentence):
    with pytest.raises(UsageError) as caught:
        built(name)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickled_model_stays_as_it_was(tmp_path):
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights_backbone=None, num_classes=4)
    model.backbone.body["0"][1].eval()
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(False)
    torch.save(model, tmp_path / "model.pt")
    detector = built("my detector", pickle_path=str(tmp_path / "model.pt"))
    assert detector.name == "my detector"
    assert not detector.model.backbone.body["0"][1].training
    assert not any(p.requires_grad for p in detector.model.backbone.parameters())
    state = detector.model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_model_pickled_in_eval_mode_is_built_in_train_mode(tmp_path):
    torch.save(nn.BatchNorm2d(3).eval(), tmp_path / "model.pt")
    assert built("it", pickle_path=str(tmp_path / "model.pt")).model.training


def test_a_pickled_factory_is_called(tmp_path):
    torch.save(torchvision.models.resnet18, tmp_path / "factory.pt")
    assert isinstance(built("it", pickle_path=str(tmp_path / "factory.pt")).model, torchvision.models.ResNet)


def test_a_pickle_that_cannot_be_loaded_is_one_sentence(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"cnot_a_module_anywhere\nModel\n.")
    with pytest.raises(AutotuneError, match="it: the model cannot be loaded in another process"):
        built("it", pickle_path=str(tmp_path / "model.pt"))


def test_a_missing_pickle_is_a_wrong_path(tmp_path):
    with pytest.raises(UsageError, match="no pickled model there"):
        built("it", pickle_path=str(tmp_path / "model.pt"))


def test_weights_are_not_chosen_for_the_users_own_model(in_project):
    with pytest.raises(UsageError, match="weights are for detectors known by name"):
        built("my_model_of_test:detector", weights="default")
