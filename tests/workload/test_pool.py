from __future__ import annotations

import itertools

import pytest
import torch

from autotune.errors import DataError
from autotune.records import DataSpec, Job, ModelSpec
from autotune.workload.coco import CocoSamples
from autotune.workload.pool import IMAGES_IN_TURN, MOST_BYTES, make_pool
from autotune.workload.prepare import prepare
from autotune.workload.synthetic import SyntheticSamples
from autotune.workload.user import TensorSamples
from autotune.workload.voc import VocSamples


def pooled(
    samples, effective_batch=4, resized=lambda height, width: (height, width), masks=False, points=False, **rest
):
    return make_pool(
        samples,
        effective_batch=effective_batch,
        resized=resized,
        needs_masks=masks,
        needs_keypoints=points,
        **{"seed": 0, **rest},
    )


def test_an_effective_batch_whose_images_do_not_fit_into_memory_is_refused_before_one_is_decoded(monkeypatch):
    samples = SyntheticSamples(5_000_000, seed=0)
    monkeypatch.setattr(samples, "load", lambda index: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"an effective batch of 5000000 images: .* give a smaller --effective-batch"):
        pooled(samples, effective_batch=5_000_000)


def in_memory(*shapes):
    """Items of the given (height, width, boxes)."""
    return TensorSamples(
        [
            (
                torch.rand(3, height, width),
                {"boxes": torch.tensor([[1.0, 1.0, 5.0, 6.0]] * boxes), "labels": torch.ones(boxes, dtype=torch.int64)},
            )
            for height, width, boxes in shapes
        ]
    )


def shapes(batch):
    return [(*image.shape[1:], len(target["boxes"])) for image, target in batch]


SMALL = [(8 + n, 9 + n, 1 + n % 3) for n in range(10)]


def test_the_steps_replay_distinct_images_in_turn():
    pool = pooled(in_memory(*SMALL), effective_batch=4)
    assert pool.images == 10
    assert sorted(shapes(item for n in range(5) for item in pool.step(n))) == sorted(SMALL * 2)
    assert shapes(pool.step(0)) == shapes(pool.step(5))
    assert pool.mean_boxes == pytest.approx(sum(boxes for _, _, boxes in SMALL) / 10)


def test_the_seed_chooses_the_images():
    samples = in_memory(*SMALL)
    first, again, other = (shapes(pooled(samples, seed=seed).step(0)) for seed in (0, 0, 1))
    assert first == again != other


def test_a_large_data_set_is_represented_by_some_images_but_an_effective_batch_at_least():
    tiny = in_memory(*[(8, 8, 1)] * 100)
    assert pooled(tiny).images == IMAGES_IN_TURN
    assert pooled(tiny, effective_batch=80).images == 80
    assert pooled(tiny, size=7).images == 7


def test_fewer_images_than_an_effective_batch_repeat():
    pool = pooled(in_memory(*SMALL[:3]), effective_batch=8)
    assert pool.images == 3
    assert len(pool.step(0)) == len(pool.worst_case(8)) == 8


def test_images_of_many_megapixels_do_not_fill_the_memory():
    class Huge(SyntheticSamples):
        def height_width(self, index):
            return (9000, 6000)

        def load(self, index):
            return torch.zeros(3, 1, 1), {"boxes": torch.zeros(1, 4), "labels": torch.ones(1, dtype=torch.int64)}

    pool = pooled(Huge(50, seed=0), effective_batch=2)
    assert pool.images == 2
    assert MOST_BYTES < 2 * 3 * 4 * 9000 * 6000


def test_the_worst_case_has_the_largest_padded_area_then_the_most_boxes():
    samples = in_memory((20, 50, 1), (60, 20, 1), (60, 20, 3), (40, 40, 2), (20, 20, 9), (20, 20, 7))
    pool = pooled(samples, effective_batch=4)
    assert shapes(pool.worst_case(1)) == [(40, 40, 2)]
    assert shapes(pool.worst_case(2)) == [(60, 20, 3), (20, 50, 1)]
    assert shapes(pool.worst_case(4)) == [(60, 20, 3), (20, 50, 1), (20, 20, 9), (20, 20, 7)]


def test_no_batch_is_padded_to_more_than_the_worst_case():
    def padded(batch):
        heights, widths, _ = zip(*batch, strict=True)
        return max(heights) * max(widths)

    every = [*SMALL[:6], (30, 9, 1), (9, 30, 1)]
    pool = pooled(in_memory(*every))
    for size in (1, 2, 3):
        worst = max(padded(batch) for batch in itertools.combinations(every, size))
        assert padded(shapes(pool.worst_case(size))) == worst


def test_the_input_of_an_image_is_counted_as_padded_after_the_resize():
    assert pooled(in_memory((60, 20, 3), (20, 50, 1))).input_elements == 3 * 60 * 50
    assert pooled(in_memory((60, 20, 3), (20, 50, 1)), resized=lambda *_: (30, 30)).input_elements == 3 * 30 * 30


def test_the_sizes_that_the_detector_makes_are_counted() -> None:
    samples = in_memory((60, 20, 3), (20, 50, 1), (60, 20, 2))
    assert pooled(samples).input_sizes == 2
    assert pooled(samples, resized=lambda *_: (30, 30)).input_sizes == 1


def test_the_worst_case_is_judged_after_the_models_resize():
    samples = in_memory((10, 100, 1), (50, 50, 1))
    pool = pooled(samples, resized=lambda height, width: (100 if height == 10 else 5, 5))
    assert shapes(pool.worst_case(1)) == [(10, 100, 1)]
    fixed = pooled(in_memory((10, 10, 2), (50, 50, 2), (10, 10, 1)), resized=lambda height, width: (300, 300))
    assert shapes(fixed.worst_case(1)) == [(50, 50, 2)]


def test_masks_fill_the_boxes_and_keypoints_lie_in_them():
    pool = pooled(SyntheticSamples(4, seed=0), effective_batch=2, masks=True, points=True, size=2)
    for image, target in (*pool.step(0), *pool.worst_case(2)):
        boxes, masks, keypoints = target["boxes"], target["masks"], target["keypoints"]
        assert masks.shape == (len(boxes), *image.shape[1:])
        assert masks.dtype is torch.uint8
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        assert masks.sum(dim=(1, 2)).float() == pytest.approx(areas, rel=0.5, abs=30)
        assert (masks.sum(dim=(1, 2)) > 0).all()
        assert keypoints.shape == (len(boxes), 17, 3)
        assert (keypoints[..., :2] >= boxes[:, None, :2]).all()
        assert (keypoints[..., :2] <= boxes[:, None, 2:]).all()
        assert (keypoints[..., 2] == 1).all()


def test_masks_and_keypoints_of_the_data_are_kept_and_none_are_added_unasked():
    masks = torch.full((1, 9, 9), 7, dtype=torch.uint8)
    target = {"boxes": torch.tensor([[1.0, 1.0, 5.0, 6.0]]), "labels": torch.tensor([1]), "masks": masks}
    samples = TensorSamples([(torch.rand(3, 9, 9), target)])
    assert torch.equal(pooled(samples, masks=True).step(0)[0][1]["masks"], masks)
    assert set(pooled(in_memory(*SMALL)).step(0)[0][1]) == {"boxes", "labels"}


def test_an_image_that_cannot_be_decoded_stops_the_pool_or_is_replaced_and_counted(coco):
    annotations, images = coco()
    whole = (images / "1.jpg").read_bytes()
    (images / "1.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(DataError, match=r"1.jpg: the image cannot be decoded .*; fix it, or pass --skip-bad"):
        pooled(CocoSamples(annotations, images))
    samples = CocoSamples(annotations, images, skip_bad=True)
    pool = pooled(samples)
    assert (pool.images, samples.skipped) == (1, 1)
    assert len(pool.step(0)) == len(pool.worst_case(4)) == 4
    (images / "2.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(DataError, match=r"train\.json: 2 images: not one image could be decoded"):
        pooled(CocoSamples(annotations, images, skip_bad=True))


def test_an_image_that_cannot_be_decoded_counts_as_bad_and_not_as_usable_too(coco):
    annotations, images = coco()
    (images / "1.jpg").write_bytes((images / "1.jpg").read_bytes()[:-400])
    data = DataSpec(kind="coco", annotations=str(annotations), images=str(images), skip_bad=True)
    facts = prepare(Job(model=ModelSpec(name="tiny:plain"), data=data, device="cpu", effective_batch=2)).facts
    assert (facts.images, facts.skipped, facts.data) == (1, 1, "train.json: 1 images")


def test_a_voc_image_that_cannot_be_decoded_is_not_described_as_usable(voc):
    root = voc()
    (root / "JPEGImages" / "a.jpg").write_bytes((root / "JPEGImages" / "a.jpg").read_bytes()[:-400])
    samples = VocSamples(root, skip_bad=True)
    pooled(samples)
    assert (samples.skipped, samples.description) == (1, "VOC2012: 1 images")


def test_real_photographs_fill_a_pool(raccoon):
    samples = CocoSamples(raccoon / "val.json", raccoon / "images")
    pool = pooled(samples, size=4)
    assert pool.images == 4
    assert all(image.max() <= 1.0 for image, _ in pool.step(0))
