from __future__ import annotations

import pytest
import torch
from PIL import Image

from autotune.errors import DataError, UsageError
from autotune.records import DataSpec
from autotune.workload.coco import CocoSamples
from autotune.workload.open import open_samples
from autotune.workload.synthetic import SyntheticSamples
from autotune.workload.voc import VocSamples

TARGET = {"boxes": torch.tensor([[1.0, 2.0, 9.0, 8.0]]), "labels": torch.tensor([1])}


def opened(**spec):
    return open_samples(DataSpec(**spec), count=5, seed=0)


def test_each_kind_of_data_is_opened(coco, voc, tmp_path):
    annotations, images = coco()
    assert isinstance(opened(), SyntheticSamples)
    assert len(opened()) == 5
    assert isinstance(opened(kind="coco", annotations=str(annotations), images=str(images)), CocoSamples)
    assert isinstance(opened(kind="voc", root=str(voc())), VocSamples)
    torch.save([(torch.rand(3, 30, 40), TARGET), (Image.new("RGB", (40, 30)), TARGET)], tmp_path / "items.pt")
    assert len(opened(kind="pickle", pickle_path=str(tmp_path / "items.pt"))) == 2


@pytest.mark.parametrize("spec", [{"kind": "coco", "annotations": "a.json"}, {"kind": "voc"}, {"kind": "pickle"}])
def test_a_path_left_out_is_wrong_use(spec):
    with pytest.raises(UsageError):
        opened(**spec)


@pytest.mark.parametrize("content", [b"", b"cnot_a_module_anywhere\nData\n."])
def test_a_pickle_that_cannot_be_loaded_is_refused(tmp_path, content):
    (tmp_path / "items.pt").write_bytes(content)
    with pytest.raises(DataError, match="cannot be loaded in another process"):
        opened(kind="pickle", pickle_path=str(tmp_path / "items.pt"))


def test_a_pickle_of_something_else_is_refused(tmp_path):
    torch.save({"a": 1}, tmp_path / "items.pt")
    with pytest.raises(DataError, match="holds a dict, not a list"):
        opened(kind="pickle", pickle_path=str(tmp_path / "items.pt"))
