from __future__ import annotations

from statistics import fmean

import pytest
import torch

from autotune.workload.synthetic import SyntheticSamples


@pytest.fixture(scope="module")
def samples():
    return SyntheticSamples(4000, seed=0)


def test_sizes_spread_as_cocos(samples):
    sizes = [samples.height_width(index) for index in range(len(samples))]
    share_by_area = fmean(167_500 <= height * width <= 355_840 for height, width in sizes)
    share_by_shape = fmean(0.6 <= height / width <= 1.5 for height, width in sizes)
    assert share_by_area == pytest.approx(0.90, abs=0.02)
    assert share_by_shape == pytest.approx(0.90, abs=0.02)
    assert max(max(size) for size in sizes) == 640
    assert len(set(sizes)) > 50


def test_box_counts_spread_as_cocos(samples):
    counts = sorted(samples.box_count(index) for index in range(len(samples)))
    assert fmean(counts) == pytest.approx(7.3, abs=0.4)
    assert counts[0] >= 1
    assert fmean(count <= 33 for count in counts) == pytest.approx(0.99, abs=0.007)
    assert counts[len(counts) // 2] in (4, 5, 6)


def test_box_areas_spread_as_cocos(samples):
    boxes = torch.cat([samples.load(index)[1]["boxes"] for index in range(150)])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert (areas < 32**2).float().mean().item() == pytest.approx(0.41, abs=0.05)
    assert (areas > 96**2).float().mean().item() == pytest.approx(0.25, abs=0.05)


def test_what_is_loaded_is_what_was_foretold(samples):
    for index in range(20):
        image, target = samples.load(index)
        height, width = samples.height_width(index)
        boxes, labels = target["boxes"], target["labels"]
        assert image.shape == (3, height, width)
        assert image.dtype is torch.float32
        assert boxes.shape == (samples.box_count(index), 4)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert labels.dtype is torch.int64
        assert 1 <= labels.min() <= labels.max() <= samples.categories == 90


def test_images_are_noise_and_never_blank(samples):
    image, _ = samples.load(0)
    assert 0.0 <= image.min() < image.max() <= 1.0
    assert image.std() > 0.1
    assert (image == 0).float().mean() < 0.2


def test_the_same_seed_and_index_give_the_same_image_and_others_another():
    image, target = SyntheticSamples(10, seed=3).load(5)
    again, target_again = SyntheticSamples(999, seed=3).load(5)
    assert torch.equal(image, again)
    assert torch.equal(target["boxes"], target_again["boxes"])
    others = [SyntheticSamples(10, seed=3).load(6)[1], SyntheticSamples(10, seed=4).load(5)[1]]
    assert not any(torch.equal(other["boxes"], target["boxes"]) for other in others)
