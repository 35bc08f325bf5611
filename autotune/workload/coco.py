"""COCO annotations: one JSON file over a folder of images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from autotune.errors import DataError, UsageError
from autotune.workload.bad_records import BadRecords
from autotune.workload.boxes import Box, clipped, numbers, why_bad
from autotune.workload.images import header_size, read_image
from autotune.workload.samples import Item, in_words

__all__ = ["CocoSamples"]


@dataclass
class _Image:
    path: Path
    height: int
    width: int
    boxes: list[Box] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)


class CocoSamples:
    """The images of a COCO annotation file that have boxes, checked when opened, decoded when asked for.

    As in torchvision's reference training, crowd annotations (iscrowd=1) and images without boxes are left out, and
    category ids serve as labels. Where they start below 1, or leave more gaps than COCO's own, they are numbered
    afresh from 1 in the order of the ids: a head with a class for every gap is nobody's.

    Raises UsageError for paths that do not exist, DataError for files that are not COCO's format and for bad
    records, which skip_bad leaves out and counts instead.
    """

    def __init__(self, annotations: str | Path, images: str | Path, skip_bad: bool = False) -> None:
        self._file, folder = Path(annotations), Path(images)
        if not self._file.is_file():
            raise UsageError(f"{annotations}: no annotation file there; give COCO's JSON file")
        if not folder.is_dir():
            raise UsageError(f"{images}: no folder there; give the folder that the annotations' file names start from")
        content = _read(self._file)
        self._bad = BadRecords(skip_bad)
        self._labels = _labels(self._file, content["categories"])
        found = self._read_images(content["images"], folder)
        self._read_annotations(content["annotations"], found)
        usable = [image for image in found.values() if image is not None]
        self._images = [image for image in usable if image.boxes]
        if not self._images:
            raise DataError(
                f"{self._file}: not one of its {len(content['images'])} images can be trained on "
                f"({len(content['annotations'])} annotations)"
            )
        self.categories = max(self._labels.values())
        self.skip_bad = skip_bad
        self.skipped = self._bad.count
        self._without_boxes = len(usable) - len(self._images)

    @property
    def description(self) -> str:
        undecodable = self.skipped - self._bad.count
        return in_words(self._file.name, len(self._images) - undecodable, self._without_boxes)

    def __len__(self) -> int:
        return len(self._images)

    def height_width(self, index: int) -> tuple[int, int]:
        return self._images[index].height, self._images[index].width

    def box_count(self, index: int) -> int:
        return len(self._images[index].boxes)

    def load(self, index: int) -> Item:
        image = self._images[index]
        boxes = torch.tensor(image.boxes, dtype=torch.float32)
        return read_image(image.path), {"boxes": boxes, "labels": torch.tensor(image.labels, dtype=torch.int64)}

    def _read_images(self, records: list[Any], folder: Path) -> dict[Any, _Image | None]:
        """By id; None for a bad image, whose annotations go with it."""
        found: dict[Any, _Image | None] = {}
        for record in _mappings(self._file, records, "image", self._bad):
            image_id, name = record.get("id"), record.get("file_name")
            if not isinstance(image_id, int | str):
                self._bad.meet(f"{self._file}: image {name!r} has no id, but {image_id!r}")
            elif image_id in found:
                self._bad.meet(f"{self._file}: image id {image_id!r} occurs twice ({name})")
            elif not isinstance(name, str):
                self._bad.meet(f"{self._file}: image {image_id!r} has no file_name, but {name!r}")
                found[image_id] = None
            else:
                found[image_id] = self._check_image(image_id, record, folder / name)
        return found

    def _check_image(self, image_id: int | str, record: Mapping[str, Any], path: Path) -> _Image | None:
        try:
            height, width = header_size(path)
        except DataError as error:
            self._bad.meet(f"{error} (image {image_id!r} of {self._file})")
            return None
        stated = (record.get("height", height), record.get("width", width))
        if stated != (height, width):
            self._bad.meet(
                f"{self._file}: image {image_id!r} says {stated[1]!r} x {stated[0]!r} px, but {path.name} has "
                f"{width} x {height}"
            )
            return None
        return _Image(path, height, width)

    def _read_annotations(self, records: list[Any], found: dict[Any, _Image | None]) -> None:
        for record in _mappings(self._file, records, "annotation", self._bad):
            where = f"{self._file}: annotation {record.get('id')!r}"
            image_id, category, box = record.get("image_id"), record.get("category_id"), record.get("bbox")
            if record.get("iscrowd"):
                continue
            if not isinstance(image_id, int | str) or image_id not in found:
                self._bad.meet(f"{where} is for an unknown image id {image_id!r}")
                continue
            image = found[image_id]
            if image is None:
                continue
            four = numbers(box) if isinstance(box, list) else None
            corners = None if four is None else (four[0], four[1], four[0] + four[2], four[1] + four[3])
            if not isinstance(category, int) or category not in self._labels:
                self._bad.meet(f"{where} has an unknown category id {category!r}")
            elif corners is None:
                self._bad.meet(f"{where} has a box that is not four numbers {box!r}")
            elif problem := why_bad(corners, image.height, image.width):
                self._bad.meet(f"{where} has {problem} {box!r}")
            else:
                image.boxes.append(clipped(corners, image.height, image.width))
                image.labels.append(self._labels[category])


def _read(file: Path) -> dict[str, list[Any]]:
    """The three lists of the file."""
    if file.stat().st_size == 0:
        raise DataError(f"{file}: the annotation file is empty")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{file}: not JSON ({error})") from None
    parts = ("images", "annotations", "categories")
    missing = [part for part in parts if not isinstance(content, dict) or not isinstance(content.get(part), list)]
    if missing:
        raise DataError(f"{file}: not COCO's format: it has no list of {' nor '.join(missing)}")
    return {part: content[part] for part in parts}


def _labels(file: Path, categories: list[Any]) -> dict[int, int]:
    """From category id to label."""
    ids = {record.get("id") if isinstance(record, Mapping) else None for record in categories}
    if not ids or not all(isinstance(each, int) for each in ids):
        raise DataError(f"{file}: each of its categories needs a number as its id")
    in_order = sorted(each for each in ids if isinstance(each, int))
    as_in_coco = in_order[0] >= 1 and in_order[-1] <= 2 * len(in_order)
    return {each: each if as_in_coco else number for number, each in enumerate(in_order, start=1)}


def _mappings(file: Path, records: list[Any], kind: str, bad: BadRecords) -> Iterator[Mapping[str, Any]]:
    for number, record in enumerate(records):
        if isinstance(record, Mapping):
            yield record
        else:
            bad.meet(f"{file}: {kind} number {number} is a {type(record).__name__}, not a record")
