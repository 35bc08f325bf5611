"""The cache of recommend(): finished run records, by model, data sizes, device and software."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import platform
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle

from autotune.errors import RecordError
from autotune.probes.machine import cpu_name, installed_version
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


def key(model: Any, dataset: Any, device: str, options: Iterable[object]) -> str | None:
    """A digest of all that decides the answer, made without touching the device.

    None for a model or dataset that cannot be told from others: it is measured every time.
    """
    try:
        return _digest(model, dataset, device, options)
    except Exception as error:  # noqa: BLE001, a user's objects may fail in any way
        _log.info("no answer will be kept in the cache: %s", error)
        return None


def _digest(model: Any, dataset: Any, device: str, options: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for part in (
        SCHEMA_VERSION,
        *options,
        device,
        *_model_parts(model),
        *_dataset_parts(dataset),
        *_device_parts(device),
        *(installed_version(name) for name in _DISTRIBUTIONS),
        *(f"{name}={os.environ.get(name)}" for name in _ENVIRONMENT),
    ):
        digest.update(repr(part).encode() + b"\0")
    return digest.hexdigest()[:32]


def load(key: str, budget_s: float | None) -> RunRecord | None:
    """The run under a key; None where there is none that this version reads, or none of such a budget or a larger."""
    path = folder() / f"{key}.json"
    if not path.exists():
        return None
    try:
        record = load_run(path)
        return record if budget_s is None or record.budget_s >= budget_s else None
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
        yield from _source_parts(model.partition(":")[0] if ":" in model else None)
    elif isinstance(getattr(model, "state_dict", None), Callable):  # type: ignore[arg-type]
        yield from _module_parts(model)
    else:
        # A function that builds the model, with all that it closes over; told without running it.
        yield hashlib.sha256(cloudpickle.dumps(model)).hexdigest()
        yield from _source_parts(getattr(model, "__module__", None))


def _source_parts(module: str | None) -> Iterator[object]:
    """Size and time of a module's file: what is pickled by its name alone may have another body today."""
    if module is None or module == "__main__":
        return
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.origin is not None:
        with contextlib.suppress(OSError):
            stat = Path(spec.origin).stat()
            yield stat.st_size, stat.st_mtime_ns


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
    with contextlib.suppress(TypeError):  # a list, say, can be no key
        if dataset not in _SIZES_SEEN:
            _SIZES_SEEN[dataset] = tuple(_some_sizes(dataset, size))
        yield _SIZES_SEEN[dataset]
        return
    yield tuple(_some_sizes(dataset, size))


# Decoding a few large photographs takes longer than an answer from the cache may: once a dataset object is enough.
_SIZES_SEEN: weakref.WeakKeyDictionary[Any, tuple[object, ...]] = weakref.WeakKeyDictionary()


def _some_sizes(dataset: Any, size: int) -> Iterator[object]:
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
