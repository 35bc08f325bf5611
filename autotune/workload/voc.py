"""Pascal VOC annotations: an XML file for each image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import torch

from autotune.errors import DataError, UsageError
from autotune.workload.bad_records import BadRecords
from autotune.workload.boxes import Box, clipped, numbers, why_bad
from autotune.workload.images import header_size, read_image
from autotune.workload.samples import Item, in_words

__all__ = ["VocSamples"]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


@dataclass(frozen=True)
class _Image:
    path: Path
    height: int
    width: int
    boxes: tuple[Box, ...]
    names: tuple[str, ...]


class VocSamples:
    """The images of a VOC folder that have boxes, checked when opened, decoded when asked for.

    root holds `Annotations/` and `JPEGImages/`, as a year of VOCdevkit does, or the XML files themselves, with the
    images beside them or in the folder that each names. Labels number the names found, in alphabetical order, from 1.
    Coordinates are taken as they stand: a box over the border by the 1 px of VOC's counting is clipped.

    Raises UsageError for a path that does not exist, DataError for a folder without annotations and for bad records,
    which skip_bad leaves out and counts instead.
    """

    def __init__(self, root: str | Path, skip_bad: bool = False) -> None:
        self._root = Path(root)
        if not self._root.is_dir():
            raise UsageError(f"{root}: no folder there; give the folder that holds Annotations and JPEGImages")
        self._bad = BadRecords(skip_bad)
        files = self._annotation_files()
        found = [image for image in self._read_all(files) if image is not None]
        self._images = [image for image in found if image.boxes]
        if not self._images:
            raise DataError(f"{self._root}: not one of its {len(files)} annotated images can be trained on")
        names = sorted({name for image in self._images for name in image.names})
        self._labels = {name: label for label, name in enumerate(names, start=1)}
        self.categories = len(names)
        self.skip_bad = skip_bad
        self.skipped = self._bad.count
        self._without_boxes = len(found) - len(self._images)

    @property
    def description(self) -> str:
        undecodable = self.skipped - self._bad.count
        return in_words(self._root.name, len(self._images) - undecodable, self._without_boxes)

    def __len__(self) -> int:
        return len(self._images)

    def height_width(self, index: int) -> tuple[int, int]:
        return self._images[index].height, self._images[index].width

    def box_count(self, index: int) -> int:
        return len(self._images[index].boxes)

    def load(self, index: int) -> Item:
        image = self._images[index]
        labels = torch.tensor([self._labels[name] for name in image.names], dtype=torch.int64)
        return read_image(image.path), {"boxes": torch.tensor(image.boxes, dtype=torch.float32), "labels": labels}

    def _annotation_files(self) -> list[Path]:
        folder = self._root / "Annotations"
        files = sorted((folder if folder.is_dir() else self._root).glob("*.xml"))
        if not files:
            years = sorted(path.parent.name for path in self._root.glob("*/Annotations"))
            hint = f"give one of its folders ({', '.join(years)})" if years else "give a year's folder of a VOCdevkit"
            raise DataError(f"{self._root}: no XML annotations in it or in its Annotations folder; {hint}")
        return files

    def _read_all(self, files: list[Path]) -> list[_Image | None]:
        taken: dict[Path, Path] = {}
        images: list[_Image | None] = []
        for file in files:
            image = self._read(file)
            if image is not None and (first := taken.setdefault(image.path, file)) != file:
                self._bad.meet(f"{file}: its image {image.path.name} is annotated in {first.name} already")
                image = None
            images.append(image)
        return images

    def _read(self, file: Path) -> _Image | None:
        try:
            annotation = _parse(file)
            path = self._find_image(file, annotation)
            height, width = header_size(path)
            _check_size(file, annotation, path, height, width)
        except DataError as error:
            self._bad.meet(str(error) if str(error).startswith(str(file)) else f"{error} (annotated in {file})")
            return None
        boxes, names = [], []
        for number, thing in enumerate(annotation.iter("object"), start=1):
            name = (thing.findtext("name") or "").strip()
            texts = [thing.findtext(f"bndbox/{corner}") for corner in _CORNERS]
            corners = numbers(texts)
            if not name:
                self._bad.meet(f"{file}: object {number} has no name")
            elif corners is None:
                self._bad.meet(f"{file}: object {number} ({name}) has a box that is not four numbers {texts}")
            elif problem := why_bad(corners, height, width):
                self._bad.meet(f"{file}: object {number} ({name}) has {problem} {texts}")
            else:
                boxes.append(clipped(corners, height, width))
                names.append(name)
        return _Image(path, height, width, tuple(boxes), tuple(names))

    def _find_image(self, file: Path, annotation: ElementTree.Element) -> Path:
        """In JPEGImages, beside the annotation, or in the folder that it names, there or one level up."""
        name, named_folder = annotation.findtext("filename"), annotation.findtext("folder") or ""
        around = (self._root, file.parent, self._root.parent)
        folders = [base / part for part in ("JPEGImages", "", named_folder) for base in around]
        # Tools that convert images leave the old suffix in the annotation, or no file name at all.
        names = [Path(name).name] if name else [file.stem + suffix for suffix in _SUFFIXES]
        found = next((folder / each for folder in folders for each in names if (folder / each).is_file()), None)
        if found is None:
            raise DataError(f"{file}: its image {names[0]} is neither in JPEGImages nor beside it nor in its folder")
        return found.resolve()


def _parse(file: Path) -> ElementTree.Element:
    if file.stat().st_size == 0:
        raise DataError(f"{file}: the annotation file is empty")
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{file}: not XML ({error})") from None
    if root.tag != "annotation":
        raise DataError(f"{file}: not VOC's format: its root is <{root.tag}>, not <annotation>")
    return root


def _check_size(file: Path, annotation: ElementTree.Element, path: Path, height: int, width: int) -> None:
    """Raises DataError where the annotation states another size than the file has; one left out, or 0, states none."""
    stated = tuple((annotation.findtext(f"size/{side}") or "0").strip() for side in ("width", "height"))
    if any(text not in ("0", str(real)) for text, real in zip(stated, (width, height), strict=True)):
        raise DataError(f"{file}: says {stated[0]} x {stated[1]} px, but {path.name} has {width} x {height}")
