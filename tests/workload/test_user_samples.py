from __future__ import annotations

import pytest
import torch
from PIL import Image

from autotune.errors import DataError
from autotune.workload.user import TensorSamples


def item(image=None, **target):
    image = torch.rand(3, 30, 40) if image is None else image
    return image, {"boxes": torch.tensor([[1.0, 2.0, 9.0, 8.0]]), "labels": torch.tensor([3]), **target}


def test_tensors_are_taken_as_they_are():
    given = item(masks=torch.ones(1, 30, 40, dtype=torch.uint8), image_id=7)
    samples = TensorSamples([given], label="my loader")
    image, target = samples.load(0)
    assert torch.equal(image, given[0])
    assert set(target) == {"boxes", "labels", "masks"}
    assert samples.height_width(0) == (30, 40)
    assert (samples.box_count(0), samples.categories, samples.skipped) == (1, 3, 0)
    assert samples.description == "my loader: 1 images"


def test_bytes_and_pillow_images_are_scaled():
    byte_image = torch.full((3, 4, 5), 255, dtype=torch.uint8)
    samples = TensorSamples([item(byte_image), item(Image.new("L", (5, 4), 255))])
    for index in range(2):
        image, _ = samples.load(index)
        assert image.shape == (3, 4, 5)
        assert torch.equal(image, torch.ones(3, 4, 5))


def test_an_image_may_have_no_boxes():
    empty = item(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
    assert TensorSamples([empty]).box_count(0) == 0


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (7, "must be (image, target), got a int"),
        ((torch.rand(3, 4, 5), [1]), "the target must be a dict with boxes and labels, got a list"),
        (item("picture.jpg"), "the image must be a tensor or a Pillow image, got a str"),
        (item(torch.rand(1, 4, 5)), "the image must be of shape (3, height, width), got (1, 4, 5)"),
        (
            item(torch.zeros(3, 4, 5, dtype=torch.int64)),
            "the image must be uint8 or floating point in [0, 1], got torch.int64",
        ),
        (item(torch.full((3, 4, 5), torch.nan)), "the image holds values that are not finite"),
        (item(boxes=[[1, 2, 3, 4]]), "the target has no tensor of boxes"),
        (item(boxes=torch.rand(1, 5)), "boxes must be of shape (N, 4), got (1, 5)"),
        (item(boxes=torch.tensor([[5.0, 2.0, 5.0, 8.0]])), "box 0 must be finite with x1 < x2 and y1 < y2"),
        (item(boxes=torch.tensor([[1.0, 2.0, torch.nan, 8.0]])), "box 0 must be finite"),
        (item(labels=torch.tensor([3], dtype=torch.int32)), "labels must be int64 of shape (1,), got torch.int32 (1,)"),
        (item(labels=torch.tensor([1, 2])), "labels must be int64 of shape (1,), got torch.int64 (2,)"),
        (item(labels=torch.tensor([-1])), "labels must not be negative, got -1"),
    ],
)
def test_a_bad_item_is_named_and_no_option_that_the_caller_has_not(bad, sentence):
    with pytest.raises(DataError) as caught:
        TensorSamples([item(), bad])
    assert f"item 1: {sentence}" in str(caught.value)
    assert str(caught.value).endswith("; fix it")


def test_no_items_are_refused():
    with pytest.raises(DataError, match="no items were given"):
        TensorSamples([])
