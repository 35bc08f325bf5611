"""recommend(), the call that training scripts embed, and the Recommendation that it returns.

Everything is measured in other processes: the caller's model, gradients, random state and global torch flags stay as
they were. A second call on the same model, data, device and software answers from a cache.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autotune import cache
from autotune.config import TrainingConfig, asked_knobs, asked_settings
from autotune.durations import seconds
from autotune.errors import AutotuneError, RunDirectoryError, UsageError
from autotune.records import DataSpec, ModelSpec, RunRecord, Status, Verdict, VerdictKind
from autotune.tuner.objective import Objective
from autotune.tuner.request import Request, check_effective_batch_size, checked_device
from autotune.tuner.run import run

if TYPE_CHECKING:
    import pandas
    import torch

__all__ = ["Recommendation", "recommend"]


class Recommendation:
    """What recommend() found: a training config, the verdict that stands behind it, and the whole run record."""

    def __init__(self, record: RunRecord, *, from_cache: bool = False) -> None:
        if record.recommendation is None or record.machine is None:
            raise AutotuneError(f"the run ended without a recommendation: {record.error or record.status}")
        self.record = record
        self.from_cache = from_cache
        self.config: TrainingConfig = record.recommendation.config
        self.verdict: Verdict = record.recommendation.verdict
        self._device_type = record.machine.device_type

    def __repr__(self) -> str:
        # A budget that would do is named as the command takes it.
        sentence = re.sub(r"--budget (\d+)s", r'budget="\1s"', self.verdict.sentence)
        return f"<Recommendation {self.config.label()!r}. {sentence}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from autotune.reports import notebook

        return notebook.recommendation(self.record)

    def table(self) -> pandas.DataFrame:
        """The measured configs, one a row, against the baseline."""
        from autotune.reports.table import trials_frame

        return trials_frame(self.record)

    def save(self, path: str | Path) -> None:
        """Write the run directory path (report.md, report.html, config.yaml, run.json, trials.csv).

        A path that ends in .yaml or .yml gets the training config alone, one in .json the run record alone.
        Raises RunDirectoryError where a directory holds a run already, or cannot be written.
        """
        from autotune.run_directory import RunDirectory, holds_a_run

        path = Path(path)
        if path.suffix in (".yaml", ".yml"):
            self.config.save(path)
        elif path.suffix == ".json":
            path.write_text(self.record.to_json() + "\n", encoding="utf-8")
        elif holds_a_run(path):
            raise RunDirectoryError(f"{path}: holds a run already; save under another path")
        else:
            RunDirectory(path).save(self.record)

    def apply(self, model: torch.nn.Module) -> torch.nn.Module:
        """Set the config on model, in place, and in torch's global flags; returns the model."""
        return self.config.apply(model)

    def autocast(self) -> torch.autocast:
        """The context for the forward pass and the loss."""
        return self.config.autocast(self._device_type)

    def grad_scaler(self) -> torch.amp.GradScaler:
        """The loss scaler; it passes everything through unless the config's precision is fp16."""
        return self.config.grad_scaler(self._device_type)

    def optimizer_arguments(self) -> dict[str, bool]:
        """What to make the torch.optim optimizer with, beside its parameters and learning rate; empty unless `knobs`
        asked for it."""
        return self.config.optimizer_arguments()


def recommend(
    model: str | torch.nn.Module | Callable[[], torch.nn.Module],
    dataset: Any = None,
    *,
    effective_batch_size: int | None = None,
    budget: str | float | None = None,
    device: str | None = None,
    optimizer: Literal["adamw", "sgd"] = "adamw",
    baseline: TrainingConfig | None = None,
    image_size: int | None = None,
    knobs: str | Sequence[str] = (),
    only: Mapping[str, Any] | None = None,
    objective: Literal["throughput", "memory", "energy"] = "throughput",
    refresh: bool = False,
) -> Recommendation:
    """Measure how model trains on device and recommend a training config.

    model: a detector's name, a module with torchvision's detection interface, or a function that builds one.
    dataset: a torch Dataset whose items are (image, target) as torchvision's detectors take them; None for synthetic
        images with COCO's spread of sizes. A sample of its items is read.
    effective_batch_size: images per optimizer step and device, kept exactly. budget: measuring time, in seconds or
        as "5m". device: "cpu", "cuda", "cuda:N"; None for the model's own where it is on a GPU, else CUDA where there
        is one. baseline: the config you train with today. image_size: the detector's input in pixels while it is
        measured, where that is not the model's own; yours must have it set to train so. knobs: what else to try, on
        what leads: "compile", "optimizer", "matmul_precision". only: the settings of which some values alone are tried
        beside the baseline, as {"precision": ["fp32", "bf16"], "channels_last": False}. objective: what the config
        shall be the best in: "memory" is the least of it within 2% of the fastest, "energy" the most images per joule.
        refresh: measure again though the cache has an answer.

    Raises UsageError, DataError or DeviceError, each with a sentence that says what to do.
    """
    import torch

    from autotune.caller import default_device, pickled_items, pickled_model, unmoved

    if optimizer not in ("adamw", "sgd"):
        raise UsageError(f"optimizer {optimizer!r}: not one of adamw, sgd")
    if objective not in tuple(Objective):
        raise UsageError(f"objective {objective!r}: not one of {', '.join(Objective)}")
    check_effective_batch_size(effective_batch_size)
    if baseline is not None and not isinstance(baseline, TrainingConfig):
        raise UsageError(f"baseline {baseline!r}: not a TrainingConfig; autotune.TrainingConfig.load() reads one")
    asked, restricted = asked_knobs(knobs), asked_settings(only or {})
    device = checked_device(device) or default_device(model)
    budget_s = seconds(budget) if budget is not None else None
    own = baseline.to_yaml() if baseline else None
    options = (effective_batch_size, optimizer, own, image_size, *asked, *restricted, objective)
    with unmoved():
        key = cache.key(model, dataset, device, options)
    if not refresh and key is not None and (record := cache.load(key, budget_s)) is not None:
        return Recommendation(record, from_cache=True)
    with tempfile.TemporaryDirectory(prefix="autotune-") as folder, unmoved():
        name, pickle_path = pickled_model(model, Path(folder))
        data = DataSpec()
        if dataset is not None:
            count = max(64, effective_batch_size or 16)
            data = pickled_items(dataset, Path(folder), count=count)
        request = Request(
            model=ModelSpec(name=name, pickle_path=pickle_path, image_size=image_size),
            data=data,
            device=device,
            effective_batch=effective_batch_size,
            optimizer=optimizer,
            budget_s=budget_s,
            baseline=baseline,
            knobs=asked,
            only=restricted,
            objective=Objective(objective),
            # The caller's own choice, so that what is measured is what will train.
            threads=torch.get_num_threads() if device == "cpu" else None,
            command=("autotune.recommend",),
        )
        record = run(request)
    if record.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    recommendation = Recommendation(record)
    if key is not None and recommendation.verdict.kind is not VerdictKind.NOT_MEASURED:
        cache.save(key, record)
    return recommendation
