"""The cache of recommend(): finished run records, by model, data sizes, device and software."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from autotune.errors import RecordError
from autotune.records import SCHEMA_VERSION, RunRecord, load_run

if TYPE_CHECKING:
    import torch

__all__ = ["folder", "key", "load", "save"]

_log = logging.getLogger(__name__)
# What else decides the speed of PyTorch in an environment.
_ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
)
_DISTRIBUTIONS = ("torch", "torchvision", "detector-autotune")


def folder() -> Path:
    """Where the cache lies: $AUTOTUNE_CACHE, else $XDG_CACHE_HOME/autotune, else ~/.cache/autotune."""
    if own := os.environ.get("AUTOTUNE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autotune"


def key(model: Any, dataset: Any, device: str, options: Iterable[object]) -> str:
    """A digest of all that decides the answer; made without touching the device."""
    digest = hashlib.sha256()
    for part in (
        SCHEMA_VERSION,
        *options,
        device,
        *_model_parts(model),
        *_dataset_parts(dataset),
        *_device_parts(device),
        *(version(name) for name in _DISTRIBUTIONS),
        *(f"{name}={os.environ.get(name)}" for name in _ENVIRONMENT),
    ):
        digest.update(repr(part).encode() + b"\0")
    return digest.hexdigest()[:32]


def load(key: str) -> RunRecord | None:
    """The finished run under a key; None where there is none, or none that this version reads."""
    path = folder() / f"{key}.json"
    if not path.exists():
        return None
    try:
        return load_run(path)
    except RecordError as error:
        _log.warning("%s; measuring again", error)
        return None


def save(key: str, record: RunRecord) -> None:
    """Keep a run. A cache that cannot be written costs the next call its time, and is no reason to fail this one."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=folder(), suffix=".partial")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(record.to_json())
            Path(partial).replace(folder() / f"{key}.json")
        except BaseException:
            with contextlib.suppress(OSError):
                Path(partial).unlink()
            raise
    except OSError as error:
        _log.warning("the cache %s cannot be written (%s); the next call will measure again", folder(), error.strerror)


def _model_parts(model: Any) -> Iterator[object]:
    if isinstance(model, str):
        yield model
    elif isinstance(getattr(model, "state_dict", None), Callable):  # type: ignore[arg-type]
        yield from _module_parts(model)
    else:
        # A function that builds the model: told by its name and its code, not by running it.
        yield getattr(model, "__module__", ""), getattr(model, "__qualname__", repr(type(model)))
        code = getattr(model, "__code__", None)
        if code is not None:
            # Constants that are code themselves (nested functions) print their address, which tells nothing.
            plain = tuple(value for value in code.co_consts if not isinstance(value, CodeType))
            yield code.co_code, plain, code.co_names


def _module_parts(model: torch.nn.Module) -> Iterator[object]:
    yield type(model).__module__, type(model).__qualname__, str(model), model.training
    for name, parameter in model.named_parameters():
        yield name, tuple(parameter.shape), str(parameter.dtype), parameter.requires_grad
    for name, buffer in model.named_buffers():
        yield name, tuple(buffer.shape), str(buffer.dtype)


def _dataset_parts(dataset: Any) -> Iterator[object]:
    """The dataset's kind, its length and the sizes of a few items: reading all of it would take longer than allowed."""
    if dataset is None:
        return
    yield type(dataset).__module__, type(dataset).__qualname__
    size = len(dataset) if hasattr(dataset, "__len__") else 0
    yield size
    tell = getattr(dataset, "get_height_and_width", None)
    for index in sorted({0, size // 2, size - 1}) if size else ():
        yield tell(index) if callable(tell) else _image_size(dataset[index])


def _image_size(item: Any) -> object:
    """The size of an item's image; None for an item that is no pair, which is told to the user when it is read."""
    image: Any = item[0] if isinstance(item, tuple | list) and item else None
    return tuple(image.shape) if hasattr(image, "shape") else getattr(image, "size", None)


def _device_parts(device: str) -> Iterator[object]:
    yield platform.node()
    if device == "cpu":
        import torch

        from autotune.probes.machine import cpu_name

        yield cpu_name()
        yield torch.get_num_threads()
        return
    # The kernel driver's own files tell the GPUs apart without opening one.
    for facts in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with contextlib.suppress(OSError):
            lines = facts.read_text(encoding="utf-8", errors="replace").splitlines()
            yield tuple(line for line in lines if line.startswith(("Model:", "GPU UUID:")))
    with contextlib.suppress(OSError):
        yield Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
