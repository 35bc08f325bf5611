from __future__ import annotations

import subprocess
import sys

import pytest
import torchvision

from autotune.detectors.registry import DETECTORS, find, named, nearest
from autotune.errors import UsageError


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda detector: detector.name)
def test_every_detector_is_one_of_torchvisions_and_is_found_by_both_names(detector):
    assert detector.torchvision_name in torchvision.models.list_models(module=torchvision.models.detection)
    assert find(detector.name) is find(detector.torchvision_name) is find(detector.name.upper()) is detector


def test_every_detector_of_torchvisions_has_a_name():
    theirs = set(torchvision.models.list_models(module=torchvision.models.detection))
    assert theirs == {detector.torchvision_name for detector in DETECTORS}


def test_names_are_unique():
    assert len({detector.name for detector in DETECTORS}) == len(DETECTORS)


def test_an_unknown_name_is_refused_with_the_nearest_names():
    assert find("frcnn_resnet_50") is None
    with pytest.raises(UsageError, match=r"'frcnn_resnet_50'; did you mean frcnn_resnet50 or .*module:factory"):
        named("frcnn_resnet_50")


def test_a_name_like_no_other_points_to_the_list_of_names():
    assert nearest("zzz") == ()
    with pytest.raises(UsageError, match="autotune models"):
        named("zzz")


def test_the_registry_loads_no_torch():
    code = "import sys, autotune.detectors.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
