"""From a ModelSpec to a model ready to train, with what a report says about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import nn

from autotune.detectors.calibrate import calibrate_frozen_batch_norm
from autotune.detectors.input_size import check_image_size, in_words, resizer, set_image_size
from autotune.detectors.offline import random_weights_for_pretrained
from autotune.detectors.registry import Detector, named
from autotune.detectors.user import from_factory, from_pickle
from autotune.detectors.weights import first_mismatch, load_weights, read_state_dict
from autotune.errors import AutotuneError, DataError, UsageError
from autotune.records import ModelSpec

__all__ = ["BuiltDetector", "build", "describe"]

# Shorter side on a CPU, where torchvision's 800 px would take minutes a step.
CPU_SIZE_PX = 320


@dataclass(frozen=True)
class BuiltDetector:
    """A detector in train mode, and what a report says about it.

    parameters, trainable_parameters: how many numbers the optimizer could and does update. input: the image size in
    words. resized: from an image's (height, width) in pixels to what the model's own transform makes of it.
    needs_masks, needs_keypoints: what targets must hold beside boxes and labels.
    """

    model: nn.Module
    name: str
    parameters: int
    trainable_parameters: int
    input: str
    notes: tuple[str, ...]
    needs_masks: bool
    needs_keypoints: bool
    resized: Callable[[int, int], tuple[int, int]]


def build(spec: ModelSpec, *, device_type: str, num_classes: int, seed: int) -> BuiltDetector:
    """Build the detector on the CPU, from the seed; torch's global generator is left as it was.

    device_type: where it will train; a CPU gets smaller images by default. num_classes: largest label plus one.
    Raises UsageError for names, paths and sizes that do not do, DataError for more classes than the weights know,
    AutotuneError for weights that cannot be had or do not fit.
    """
    if spec.image_size is not None:
        check_image_size(spec.image_size)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed the GPUs too.
        torch.default_generator.manual_seed(seed)
        if spec.pickle_path is not None or ":" in spec.name:
            return _of_user(spec)
        return _of_torchvision(spec, named(spec.name), device_type, num_classes)


def describe(name: str) -> tuple[int, int, str]:
    """Parameters, trainable parameters and input size in words of a detector fine-tuned on COCO's classes.

    Allocates nothing: the detector is built of shapes alone. Raises UsageError for an unknown name.
    """
    with torch.device("meta"):
        model = _fine_tuned(named(name), {})
    return (*_counts(model), in_words(model))


def _of_user(spec: ModelSpec) -> BuiltDetector:
    if spec.weights is not None or spec.from_scratch:
        raise UsageError(f"{spec.name}: weights are for detectors known by name; load them in your own model's code")
    model = from_factory(spec.name) if spec.pickle_path is None else from_pickle(spec.pickle_path, spec.name)
    # A module that trains already may hold parts in eval mode on purpose (frozen norms): those stay.
    if not model.training:
        model.train()
    if spec.image_size is not None:
        set_image_size(model, spec.image_size, spec.name)
    return _built(model, spec.name, ())


def _of_torchvision(spec: ModelSpec, detector: Detector, device_type: str, num_classes: int) -> BuiltDetector:
    if spec.from_scratch and spec.weights is not None:
        raise UsageError(f"{spec.name}: from scratch or from weights ({spec.weights}), not both")
    sizes, notes = _sizes(spec, detector, device_type)
    if spec.weights == "default":
        model = _downloaded(detector, num_classes, sizes)
    elif spec.weights is not None:
        model = _from_file(detector, spec.weights, {"num_classes": num_classes, **sizes})
    elif spec.from_scratch:
        model = _from_scratch(detector, {"num_classes": num_classes, **sizes})
    else:
        model = _fine_tuned(detector, {"num_classes": num_classes, **sizes})
        calibrate_frozen_batch_norm(model.backbone)  # type: ignore[arg-type]
    if spec.image_size is not None and detector.fixed_size is not None:
        set_image_size(model, spec.image_size, detector.name)
    return _built(model.train(), detector.name, notes)


def _sizes(spec: ModelSpec, detector: Detector, device_type: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """min_size and max_size in pixels, where torchvision's own do not hold, and a note on why they do not."""
    if detector.fixed_size is not None:
        return {}, ()
    shorter_px = spec.image_size
    notes: tuple[str, ...] = ()
    if shorter_px is None:
        if device_type != "cpu" or detector.min_size <= CPU_SIZE_PX:
            return {}, ()
        shorter_px = CPU_SIZE_PX
        because = f"the default on a CPU; torchvision's own is {detector.min_size} px"
        notes = (f"Images are resized to a shorter side of {CPU_SIZE_PX} px, {because}.",)
    return {"min_size": shorter_px, "max_size": round(shorter_px * detector.max_size / detector.min_size)}, notes


def _fine_tuned(detector: Detector, options: dict[str, Any]) -> nn.Module:
    """Random weights in the structure that torchvision fine-tunes: frozen norms and layers as it freezes them."""
    with random_weights_for_pretrained():
        return _model(detector, weights=None, weights_backbone="DEFAULT", **options)


def _from_scratch(detector: Detector, options: dict[str, Any]) -> nn.Module:
    return _model(detector, weights=None, weights_backbone=None, **options)


def _downloaded(detector: Detector, num_classes: int, sizes: dict[str, int]) -> nn.Module:
    known = len(torchvision.models.get_model_weights(detector.torchvision_name)["DEFAULT"].meta["categories"])
    if num_classes > known:
        raise DataError(
            f"{detector.name}: torchvision's weights know {known} classes, background included, and the data needs "
            f"{num_classes}; leave the weights out, or give your own"
        )
    try:
        return _model(detector, weights="DEFAULT", weights_backbone=None, **sizes)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a broken file is a RuntimeError
        raise AutotuneError(
            f"{detector.name}: torchvision's weights could not be downloaded ({error}); "
            f"leave the weights out, since speed hardly depends on them, or give the path of a state dict"
        ) from None


def _from_file(detector: Detector, path: str, options: dict[str, Any]) -> nn.Module:
    """The structure for fine-tuning if the weights fit it, else the one from scratch.

    SSDlite has two: torchvision halves its tail where the backbone is not pretrained, its COCO weights included.
    """
    state = read_state_dict(path)
    model = _fine_tuned(detector, options)
    mismatch = first_mismatch(model, state)
    if mismatch is not None:
        model = _from_scratch(detector, options)
        if first_mismatch(model, state) is not None:
            raise AutotuneError(
                f"{path}: does not fit {detector.name} with {options['num_classes']} classes: {mismatch}; "
                f"give weights of this detector, trained for the same classes"
            )
    load_weights(model, state)
    return model


def _model(detector: Detector, **options: Any) -> nn.Module:
    model: nn.Module = torchvision.models.get_model(detector.torchvision_name, **options)
    return model


def _counts(model: nn.Module) -> tuple[int, int]:
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def _built(model: nn.Module, name: str, notes: tuple[str, ...]) -> BuiltDetector:
    parameters, trainable = _counts(model)
    roi_heads = getattr(model, "roi_heads", None)
    has_mask, has_keypoint = getattr(roi_heads, "has_mask", None), getattr(roi_heads, "has_keypoint", None)
    return BuiltDetector(
        model=model,
        name=name,
        parameters=parameters,
        trainable_parameters=trainable,
        input=in_words(model),
        notes=notes,
        needs_masks=bool(has_mask and has_mask()),
        needs_keypoints=bool(has_keypoint and has_keypoint()),
        resized=resizer(model),
    )
