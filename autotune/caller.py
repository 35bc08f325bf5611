"""The caller's side of recommend(): hand a model and some of a dataset to another process, and leave no trace here."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import numpy
import torch

from autotune.detectors.registry import named
from autotune.errors import DataError, UsageError
from autotune.installation import check_installation
from autotune.records import DataSpec

__all__ = ["default_device", "pickled_items", "pickled_model", "unmoved"]


def default_device(model: Any) -> str:
    """The model's own device where that is a GPU, else CUDA where there is one, else the CPU."""
    if isinstance(model, torch.nn.Module):
        first = next(model.parameters(), None)
        if first is not None and first.is_cuda:
            return str(first.device)
    # Counts by NVML: no CUDA context is opened here.
    return "cuda" if torch.version.cuda and torch.cuda.device_count() else "cpu"


@contextmanager
def unmoved() -> Iterator[None]:
    """Put all random state back as it was: datasets draw from it when they augment."""
    python, numbers, cpu = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(numbers)
        torch.set_rng_state(cpu)
        if gpus is not None:
            torch.cuda.set_rng_state_all(gpus)


def pickled_model(model: str | torch.nn.Module | Callable[[], torch.nn.Module], folder: Path) -> tuple[str, str | None]:
    """(name, path of the pickle or None where the name says it all). Raises UsageError for what cannot be pickled."""
    check_installation()
    if isinstance(model, str):
        if ":" not in model:
            named(model)
        return model, None
    if not isinstance(model, torch.nn.Module) and not callable(model):
        raise UsageError(f"model must be a name, a module or a function that builds one, not {type(model).__name__}")
    name = type(model).__name__ if isinstance(model, torch.nn.Module) else getattr(model, "__qualname__", repr(model))
    path = folder / "model.pt"
    try:
        # cloudpickle also takes classes and functions that the caller's own script defines.
        torch.save(model, path, pickle_module=cloudpickle)
    except Exception as error:  # noqa: BLE001, a module may fail to be pickled in any way
        raise UsageError(
            f"model {name} cannot be sent to another process ({error}); pass a function that builds it instead"
        ) from None
    return name, str(path)


def pickled_items(dataset: Any, folder: Path, *, count: int) -> DataSpec:
    """Read count items, spread over the dataset, and the tallest and widest where it tells sizes without reading.

    Raises DataError for a dataset without length or items.
    """
    size = _length(dataset)
    chosen = set(random.Random(0).sample(range(size), min(count, size)))
    tell = getattr(dataset, "get_height_and_width", None)
    if callable(tell):
        sizes = [tell(index) for index in range(size)]
        chosen |= {max(range(size), key=lambda index: sizes[index][side]) for side in (0, 1)}
    items = []
    for index in sorted(chosen):
        try:
            item = dataset[index]
        except Exception as error:
            raise DataError(f"dataset item {index} cannot be read: {type(error).__name__}: {error}") from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(f"dataset item {index} is not a pair (image, target) but {type(item).__name__}")
        items.append(tuple(item))
    path = folder / "items.pt"
    torch.save(items, path, pickle_module=cloudpickle)
    label = f"{type(dataset).__name__}, {len(items)} of {size} items"
    return DataSpec(kind="pickle", pickle_path=str(path), label=label)


def _length(dataset: Any) -> int:
    try:
        size = len(dataset)
    except TypeError:
        raise DataError(
            f"dataset {type(dataset).__name__} has no length; pass a map-style Dataset, or a list of (image, target)"
        ) from None
    if size == 0:
        raise DataError(f"dataset {type(dataset).__name__} is empty")
    return size
