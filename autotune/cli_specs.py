"""What a command's options name, as specs of a job; a name or a path that does not do gets its sentence here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autotune.errors import UsageError

if TYPE_CHECKING:
    from autotune.records import DataSpec, ModelSpec

__all__ = ["data_spec", "existing", "model_spec"]


def model_spec(name: str, from_scratch: bool, weights: str | None, image_size: int | None) -> ModelSpec:
    from autotune.detectors.registry import named
    from autotune.records import ModelSpec

    if ":" not in name:
        named(name)
    return ModelSpec(name=name, from_scratch=from_scratch, weights=weights, image_size=image_size)


def data_spec(data: Path | None, images: Path | None, voc: Path | None, skip_bad: bool) -> DataSpec:
    from autotune.records import DataSpec

    if voc is not None:
        if data is not None or images is not None:
            raise UsageError("--voc stands for itself: leave out --data and --images, or leave out --voc")
        return DataSpec(kind="voc", root=existing(voc), skip_bad=skip_bad)
    if (data is None) != (images is None):
        raise UsageError("--data (COCO annotations) and --images (their folder) go together; give both")
    if data is None or images is None:
        if skip_bad:
            raise UsageError("--skip-bad is for real images; give --data and --images, or --voc")
        return DataSpec()
    return DataSpec(kind="coco", annotations=existing(data), images=existing(images), skip_bad=skip_bad)


def existing(path: Path) -> str:
    """The path as the trial server can use it. What stands there is the server's to judge."""
    if not path.exists():
        raise UsageError(f"{path}: does not exist")
    return str(path.resolve())
