"""From a DataSpec to samples."""

from __future__ import annotations

from pathlib import Path

import torch

from autotune.errors import DataError, UsageError
from autotune.records import DataSpec
from autotune.workload.coco import CocoSamples
from autotune.workload.samples import Samples
from autotune.workload.synthetic import SyntheticSamples
from autotune.workload.user import TensorSamples
from autotune.workload.voc import VocSamples

__all__ = ["open_samples"]


def open_samples(spec: DataSpec, *, count: int, seed: int) -> Samples:
    """Open the data and check it; count and seed are for synthetic images.

    Raises UsageError for paths that are missing or do not exist, DataError for data that does not do.
    """
    if spec.kind == "synthetic":
        return SyntheticSamples(count, seed)
    if spec.kind == "coco":
        if spec.annotations is None or spec.images is None:
            raise UsageError("COCO data needs the annotation file and the folder of its images; give both")
        return CocoSamples(spec.annotations, spec.images, spec.skip_bad)
    if spec.kind == "voc":
        if spec.root is None:
            raise UsageError("VOC data needs the folder that holds Annotations and JPEGImages; give it")
        return VocSamples(spec.root, spec.skip_bad)
    if spec.pickle_path is None or not Path(spec.pickle_path).is_file():
        raise UsageError(f"{spec.pickle_path}: no pickled samples there")
    try:
        # Written by recommend() from what the caller holds, Pillow images included: as trusted as the caller.
        items = torch.load(spec.pickle_path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise DataError(f"{spec.pickle_path}: the samples cannot be loaded in another process ({error})") from error
    if not isinstance(items, list):
        raise DataError(f"{spec.pickle_path}: holds a {type(items).__name__}, not a list of (image, target)")
    return TensorSamples(items, spec.label)
