from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from autotune.errors import DataError, UsageError
from autotune.workload.coco import CocoSamples


def test_a_real_data_set_is_read(raccoon):
    samples = CocoSamples(raccoon / "train.json", raccoon / "images")
    assert len(samples) == 160
    assert samples.categories == 1
    assert samples.skipped == 0
    assert samples.description == "train.json: 160 images"
    assert samples.height_width(0) == (417, 650)
    image, target = samples.load(0)
    assert image.shape == (3, 417, 650)
    assert target["boxes"].tolist() == [[81.0, 88.0, 522.0, 408.0]]
    assert target["labels"].tolist() == [1]


def test_greyscale_photographs_have_three_channels(raccoon):
    samples = CocoSamples(raccoon / "train.json", raccoon / "images")
    names = [record["file_name"] for record in json.loads((raccoon / "train.json").read_text())["images"]]
    grey = [name for name in ("raccoon-150.jpg", "raccoon-152.jpg", "raccoon-161.jpg") if name in names]
    assert grey
    for name in grey:
        image, _ = samples.load(names.index(name))
        assert image.shape[0] == 3
        assert torch.equal(image[0], image[2])


BAD = [
    (lambda c: c["annotations"][0].update(bbox=[4, 5, 0, 8]), "annotation 11 has a box of no area [4, 5, 0, 8]"),
    (lambda c: c["annotations"][0].update(bbox=[4, 5, -3, 8]), "annotation 11 has a box of no area"),
    (lambda c: c["annotations"][0].update(bbox=[4, 5, 60, 8]), "annotation 11 has a box outside its image of 40 x 30"),
    (lambda c: c["annotations"][0].update(bbox=[40, 5, 1, 8]), "annotation 11 has a box outside its image"),
    (lambda c: c["annotations"][0].update(bbox=["a", 5, 6, 8]), "annotation 11 has a box that is not four numbers"),
    (lambda c: c["annotations"][0].update(bbox=[4, 5, 6]), "annotation 11 has a box that is not four numbers"),
    (lambda c: c["annotations"][0].update(bbox=[4, 5, float("nan"), 6]), "annotation 11 has a box that is not four"),
    (lambda c: c["annotations"][0].pop("bbox"), "annotation 11 has a box that is not four numbers None"),
    (lambda c: c["annotations"][0].update(category_id=9), "annotation 11 has an unknown category id 9"),
    (lambda c: c["annotations"][0].update(image_id=77), "annotation 11 is for an unknown image id 77"),
    (lambda c: c["annotations"].append(5), "annotation number 2 is a int, not a record"),
    (lambda c: c["images"].append(dict(c["images"][0])), "image id 1 occurs twice (1.jpg)"),
    (lambda c: c["images"][0].update(width=400), "image 1 says 400 x 30 px, but 1.jpg has 40 x 30"),
    (lambda c: c["images"][0].update(file_name="3.jpg"), "3.jpg: no image file there (image 1 of"),
    (lambda c: c["images"][0].pop("file_name"), "image 1 has no file_name, but None"),
    (lambda c: c["images"].append({"file_name": "3.jpg"}), "image '3.jpg' has no id, but None"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_a_bad_record_is_named_or_left_out_and_counted(coco, change, sentence):
    annotations, images = coco(change)
    with pytest.raises(DataError) as caught:
        CocoSamples(annotations, images)
    assert sentence in str(caught.value)
    assert str(caught.value).endswith("; fix it, or pass --skip-bad to leave it out")
    samples = CocoSamples(annotations, images, skip_bad=True)
    assert samples.skipped == 1  # the annotation of a bad image goes with it, and is not counted again
    assert len(samples) >= 1
    assert all(samples.load(index)[1]["boxes"].isfinite().all() for index in range(len(samples)))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "train.json: the annotation file is empty"),
        ("{oops", "train.json: not JSON"),
        ("[1, 2]", "train.json: not COCO's format: it has no list of images nor annotations nor categories"),
        ('{"images": [], "annotations": []}', "it has no list of categories"),
        ('{"images": [], "annotations": [], "categories": []}', "each of its categories needs a number as its id"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "not one of its 0 images"),
    ],
)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_file_that_is_not_cocos_format_is_refused_even_where_bad_records_are_skipped(coco, text, sentence, skip_bad):
    annotations, images = coco()
    annotations.write_text(text)
    with pytest.raises(DataError) as caught:
        CocoSamples(annotations, images, skip_bad)
    assert sentence in str(caught.value)


def test_bytes_that_are_no_text_are_not_json(coco):
    annotations, images = coco()
    annotations.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(DataError, match="not JSON"):
        CocoSamples(annotations, images)


def test_paths_that_do_not_exist_are_wrong_use(coco, tmp_path):
    annotations, images = coco()
    with pytest.raises(UsageError, match=r"nowhere.json: no annotation file there"):
        CocoSamples(tmp_path / "nowhere.json", images)
    with pytest.raises(UsageError, match=r"nowhere: no folder there"):
        CocoSamples(annotations, tmp_path / "nowhere")


def test_an_image_file_that_is_no_image_is_named(coco):
    annotations, images = coco()
    (images / "1.jpg").write_bytes(b"not an image at all")
    with pytest.raises(DataError, match=r"1.jpg: not a readable image \(no known image format\) \(image 1 of "):
        CocoSamples(annotations, images)
    assert len(CocoSamples(annotations, images, skip_bad=True)) == 1


def test_a_truncated_image_is_found_when_it_is_decoded(coco):
    annotations, images = coco()
    whole = (images / "1.jpg").read_bytes()
    (images / "1.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    samples = CocoSamples(annotations, images)
    with pytest.raises(DataError, match=r"1.jpg: the image cannot be decoded"):
        samples.load(0)


def test_crowds_and_images_without_boxes_are_left_out_as_in_torchvisions_reference(coco):
    def change(content):
        content["annotations"][0]["iscrowd"] = 1

    samples = CocoSamples(*coco(change))
    assert len(samples) == 1
    assert samples.skipped == 0
    assert samples.description == "train.json: 1 images, 1 more without boxes left out"


def test_a_box_over_the_border_by_rounding_is_clipped(coco):
    samples = CocoSamples(*coco(lambda content: content["annotations"][0].update(bbox=[-0.5, 0, 41, 30.9])))
    assert samples.load(0)[1]["boxes"].tolist() == [[0.0, 0.0, 40.0, 30.0]]


@pytest.mark.parametrize(
    ("ids", "categories"),
    [([1], 1), ([1, 2, 3, 5], 5), ([0, 1], 2), ([1, 900], 2), ([5], 1)],
)
def test_ids_serve_as_labels_unless_they_would_waste_classes(coco, ids, categories):
    def change(content):
        content["categories"] = [{"id": each} for each in ids]
        content["annotations"][0]["category_id"] = content["annotations"][1]["category_id"] = ids[-1]

    samples = CocoSamples(*coco(change))
    assert samples.categories == categories
    assert samples.load(0)[1]["labels"].tolist() == [categories]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_images_of_every_mode_become_three_channels(coco, mode):
    def change(content):
        content["images"][0]["file_name"] = "1.tiff" if mode == "CMYK" else "1.png"

    annotations, images = coco(change)
    grey = Image.linear_gradient("L").resize((40, 30))
    if mode == "I;16":
        image = Image.new("I;16", (40, 30), 32768)
    elif mode == "P":
        image = grey.convert("P")
        image.info["transparency"] = bytes(range(256))
    else:
        image = grey.convert("RGB").convert(mode) if mode != "1" else grey.convert("1")
    image.save(images / ("1.tiff" if mode == "CMYK" else "1.png"))
    pixels, _ = CocoSamples(annotations, images).load(0)
    assert pixels.shape == (3, 30, 40)
    assert pixels.dtype is torch.float32
    assert 0.3 < pixels.mean() < 0.7
    assert pixels.max() <= 1
