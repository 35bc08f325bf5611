"""profile(): why a detector's training step takes its time, for training scripts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autotune.config import TrainingConfig
from autotune.errors import RunDirectoryError, UsageError
from autotune.profile_record import Profile
from autotune.records import DataSpec, ModelSpec
from autotune.tuner.request import Request, check_effective_batch_size, checked_device
from autotune.tuner.run import profile_run

if TYPE_CHECKING:
    import torch

__all__ = ["profile"]


def profile(
    model: str | torch.nn.Module | Callable[[], torch.nn.Module],
    dataset: Any = None,
    *,
    effective_batch_size: int | None = None,
    config: TrainingConfig | None = None,
    device: str | None = None,
    optimizer: Literal["adamw", "sgd"] = "adamw",
    image_size: int | None = None,
    trace: str | Path | None = None,
) -> Profile:
    """Profile one optimizer step of model: each layer's time, forward, backward and update, and what bounds it.

    model: a detector's name, a module with torchvision's detection interface, or a function that builds one.
    dataset: a torch Dataset whose items are (image, target) as torchvision's detectors take them; None for synthetic
        images with COCO's spread of sizes. A sample of its items is read.
    config: the training config to profile; None for PyTorch's defaults. effective_batch_size: images per optimizer
        step. device: as recommend()'s. trace: a folder without a run in which to keep the recording,
        trace.json.gz; None for none.

    Raises UsageError, DataError, DeviceError, TraceError or RunDirectoryError, each with a sentence that says what to
    do.
    """
    import torch

    from autotune.caller import default_device, pickled_items, pickled_model, unmoved
    from autotune.run_directory import holds_a_run

    if optimizer not in ("adamw", "sgd"):
        raise UsageError(f"optimizer {optimizer!r}: not one of adamw, sgd")
    check_effective_batch_size(effective_batch_size)
    if trace is not None and not Path(trace).is_dir():
        raise UsageError(f"trace {trace}: no such folder; make it, or leave it out")
    if trace is not None and holds_a_run(Path(trace)):
        raise RunDirectoryError(f"trace {trace}: holds a run already; empty it, or give another folder")
    device = checked_device(device) or default_device(model)
    with tempfile.TemporaryDirectory(prefix="autotune-") as folder, unmoved():
        name, pickle_path = pickled_model(model, Path(folder))
        data = DataSpec()
        if dataset is not None:
            data = pickled_items(dataset, Path(folder), count=max(64, effective_batch_size or 16))
        request = Request(
            model=ModelSpec(name=name, pickle_path=pickle_path, image_size=image_size),
            data=data,
            device=device,
            effective_batch=effective_batch_size,
            optimizer=optimizer,
            baseline=config,
            threads=torch.get_num_threads() if device == "cpu" else None,
            command=("autotune.profile",),
        )
        found = profile_run(request, directory=Path(trace) if trace is not None else None).profile
    assert found is not None
    return found
