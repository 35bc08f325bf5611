"""What a user asks of a run, and the job that follows from it on a device."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from autotune.config import TrainingConfig
from autotune.errors import UsageError
from autotune.records import DataSpec, Job, ModelSpec
from autotune.tuner.objective import Objective

__all__ = ["Request", "check_effective_batch_size", "checked_device", "job_of"]

# Trains as torchvision's reference does on a GPU; a CPU gets what it can step through in seconds.
_EFFECTIVE_BATCH = {"cuda": 16, "cpu": 4}


def check_effective_batch_size(value: object) -> None:
    """Raises UsageError for what a call in Python can give and the command line cannot."""
    if value is not None and (not isinstance(value, int) or value < 1):
        raise UsageError(f"effective_batch_size {value!r}: must be a whole number, at least 1")


def checked_device(device: object) -> str | None:
    """Raises UsageError where it is the name of no device that a request can have."""
    if device is None:
        return None
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UsageError(f"device {device!r}: not one of cpu, cuda, cuda:N")
    return device


@dataclass(frozen=True)
class Request:
    """What a user asks of a run; None leaves a choice to the device's default.

    device: `cpu`, `cuda`, `cuda:N`, or None for CUDA where there is one. baseline: the user's own training config.
    tuned_batch: the effective batch that the user's learning rate was tuned at; None where it is this one.
    knobs: the extra knobs to try, by the words that ask for them. only: the settings of which some values alone are
    tried, as asked_settings() gives them.
    profile: profile the baseline's step before the search.
    """

    model: ModelSpec
    data: DataSpec = DataSpec()
    device: str | None = None
    effective_batch: int | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    budget_s: float | None = None
    baseline: TrainingConfig | None = None
    seed: int = 0
    memory_limit_bytes: int | None = None
    threads: int | None = None
    settings_fixed: bool = False
    objective: Objective = Objective.THROUGHPUT
    tuned_batch: int | None = None
    knobs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    profile: bool = False
    command: tuple[str, ...] = field(default=())


def job_of(request: Request, device_type: str) -> Job:
    effective_batch = request.effective_batch or _EFFECTIVE_BATCH[device_type]
    baseline = request.baseline
    if baseline is not None and baseline.images_per_step != effective_batch:
        if request.effective_batch is not None:
            raise UsageError(
                f"the baseline's batch_size {baseline.batch_size} x accumulation_steps {baseline.accumulation_steps} "
                f"is {baseline.images_per_step}, not the effective batch {effective_batch}; make them agree"
            )
        effective_batch = baseline.images_per_step
    return Job(
        model=request.model,
        data=request.data,
        device=request.device or device_type,
        effective_batch=effective_batch,
        optimizer=request.optimizer,
        seed=request.seed,
        memory_limit_bytes=request.memory_limit_bytes,
        threads=request.threads,
    )
