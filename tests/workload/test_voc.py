from __future__ import annotations

import shutil

import pytest

from autotune.errors import DataError, UsageError
from autotune.workload.voc import VocSamples


def test_a_real_data_set_with_images_in_the_folder_that_it_names_is_read(raccoon):
    samples = VocSamples(raccoon / "voc")
    assert len(samples) == 200
    assert samples.categories == 1
    assert samples.skipped == 0
    assert sum(samples.box_count(index) for index in range(200)) == 217
    image, target = samples.load(0)
    assert image.shape == (3, 417, 650)
    assert target["boxes"].tolist() == [[81.0, 88.0, 522.0, 408.0]]


def test_a_year_of_a_devkit_is_read_with_labels_in_alphabetical_order(voc):
    samples = VocSamples(voc())
    assert [samples.load(index)[1]["labels"].tolist() for index in range(2)] == [[2], [1]]
    assert samples.categories == 2
    assert samples.height_width(0) == (30, 40)
    assert samples.description == "VOC2012: 2 images"


def test_images_beside_their_annotations_are_found(voc, tmp_path):
    root = voc()
    together = tmp_path / "together"
    together.mkdir()
    for file in (*root.glob("*/*.xml"), *root.glob("*/*.jpg")):
        shutil.copy(file, together)
    assert len(VocSamples(together)) == 2


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ((4, 5, 4, 13), "object 1 (dog) has a box of no area"),
        ((4, 5, 60, 13), "object 1 (dog) has a box outside its image of 40 x 30 px"),
        (("x", 5, 14, 13), "object 1 (dog) has a box that is not four numbers"),
        (("", 5, 14, 13), "object 1 (dog) has a box that is not four numbers"),
        (("inf", 5, 14, 13), "object 1 (dog) has a box that is not four numbers"),
    ],
)
def test_a_bad_box_is_named_or_left_out_and_counted(voc, box, sentence):
    root = voc(box)
    with pytest.raises(DataError) as caught:
        VocSamples(root)
    assert f"{root / 'Annotations' / 'a.xml'}: {sentence}" in str(caught.value)
    assert str(caught.value).endswith("; fix it, or pass --skip-bad to leave it out")
    samples = VocSamples(root, skip_bad=True)
    assert (len(samples), samples.skipped, samples.categories) == (1, 1, 1)
    assert samples.description == "VOC2012: 1 images, 1 more without boxes left out"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a.xml: the annotation file is empty"),
        ("<annotation><filename>", "a.xml: not XML"),
        ("<html></html>", "a.xml: not VOC's format: its root is <html>"),
        ("<annotation><filename>c.jpg</filename></annotation>", "a.xml: its image c.jpg is neither in JPEGImages"),
        ("<annotation><filename>b.jpg</filename></annotation>", "b.xml: its image b.jpg is annotated in a.xml already"),
        (
            "<annotation><filename>a.jpg</filename><size><width>9</width><height>30</height></size></annotation>",
            "a.xml: says 9 x 30 px, but a.jpg has 40 x 30",
        ),
        (
            "<annotation><filename>a.jpg</filename><object><bndbox/></object></annotation>",
            "a.xml: object 1 has no name",
        ),
    ],
)
def test_a_bad_annotation_file_is_named_or_left_out_and_counted(voc, text, sentence):
    root = voc()
    (root / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(DataError) as caught:
        VocSamples(root)
    assert sentence in str(caught.value)
    if "already" in sentence:
        with pytest.raises(DataError, match="not one of its 2 annotated images"):
            VocSamples(root, skip_bad=True)
    else:
        assert (len(VocSamples(root, skip_bad=True)), VocSamples(root, skip_bad=True).skipped) == (1, 1)


def test_an_image_file_that_is_no_image_is_named_with_its_annotation(voc):
    root = voc()
    (root / "JPEGImages" / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"a.jpg: not a readable image .*\(annotated in .*a.xml\)"):
        VocSamples(root)


def test_a_folder_without_annotations_is_refused_and_a_devkit_points_to_its_years(voc, tmp_path):
    voc()
    with pytest.raises(DataError, match=r"no XML annotations .* give one of its folders \(VOC2012\)"):
        VocSamples(tmp_path)
    with pytest.raises(UsageError, match="no folder there"):
        VocSamples(tmp_path / "nowhere")
