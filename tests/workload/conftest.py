from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

RACCOON = Path(__file__).parents[3] / "shared" / "data" / "raccoon"


@pytest.fixture
def raccoon() -> Path:
    """A small real data set: 200 photographs, 217 boxes, as COCO and as VOC."""
    if not RACCOON.is_dir():
        pytest.skip(f"no data set in {RACCOON}")
    return RACCOON


def photograph(path: Path, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((width, height), 60).convert("RGB").save(path)
    return path


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Writes two images of 40 x 30 px with a box each, after `change` has had its way with the content."""

    def write(change: Callable[[dict], object] = lambda content: None) -> tuple[Path, Path]:
        content = {
            "images": [{"id": n, "file_name": f"{n}.jpg", "width": 40, "height": 30} for n in (1, 2)],
            "annotations": [{"id": 10 + n, "image_id": n, "category_id": 1, "bbox": [4, 5, 10, 8]} for n in (1, 2)],
            "categories": [{"id": 1, "name": "raccoon"}],
        }
        for n in (1, 2):
            photograph(tmp_path / "images" / f"{n}.jpg")
        change(content)
        (tmp_path / "train.json").write_text(json.dumps(content))
        return tmp_path / "train.json", tmp_path / "images"

    return write


ANNOTATION = """<annotation><folder>images</folder><filename>{stem}.jpg</filename>
<size><width>40</width><height>30</height><depth>3</depth></size>
<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>
</bndbox></object></annotation>"""


@pytest.fixture
def voc(tmp_path: Path) -> Callable[..., Path]:
    """Writes a VOC year of two images, a cat and a dog; `box` is the dog's."""

    def write(box: tuple[object, ...] = (4, 5, 14, 13)) -> Path:
        root = tmp_path / "VOC2012"
        (root / "Annotations").mkdir(parents=True)
        for stem, name, corners in (("a", "dog", box), ("b", "cat", (1, 1, 40, 30))):
            photograph(root / "JPEGImages" / f"{stem}.jpg")
            text = ANNOTATION.format(stem=stem, name=name, box=corners)
            (root / "Annotations" / f"{stem}.xml").write_text(text)
        return root

    return write
