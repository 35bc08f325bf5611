"""The search as charts need it: each config's speed and memory, the trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import Any

from autotune.config import TrainingConfig
from autotune.records import Outcome, RunRecord, Trial
from autotune.reports.page.embedding import rounded
from autotune.reports.pareto import front, points, without_energy
from autotune.reports.plain import printable
from autotune.reports.si import GIB
from autotune.reports.table import cut_short

__all__ = ["TRIAL_COLUMNS", "Measured", "measured", "memory_limit_gib", "trial_rows"]

TRIAL_COLUMNS = (
    "number",
    "stage",
    "block",
    "setting",
    "outcome",
    "images/s",
    "10th",
    "90th",
    "steps",
    "peak GiB",
    "seconds",
    "remark",
)


@dataclass(frozen=True)
class Measured:
    """One config. cell: its settings without the batch. images_per_second, low, high: median, 10th and 90th
    percentile over the steps of the search, or of the race where the search has none; None where it failed.
    """

    setting: str
    cell: str
    batch_size: int
    outcome: str
    images_per_second: float | None
    low: float | None
    high: float | None
    peak_gib: float | None
    is_baseline: bool
    is_recommended: bool
    on_front: bool = False


def measured(record: RunRecord) -> list[Measured]:
    """One entry per config, by batch size within its cell; on_front: none is both faster and smaller."""
    trials: dict[TrainingConfig, list[Trial]] = {}
    for trial in record.standing:
        trials.setdefault(trial.config, []).append(trial)
    found = sorted((_measured(record, *item) for item in trials.items()), key=lambda each: (each.cell, each.batch_size))
    unbeaten = {point.config.label() for point in front(without_energy(points(record)))}
    return [replace(each, on_front=each.setting in unbeaten) for each in found]


def _measured(record: RunRecord, config: TrainingConfig, trials: Sequence[Trial]) -> Measured:
    timed = [trial for trial in trials if trial.outcome is Outcome.OK and trial.step_ms]
    searched = [trial for trial in timed if not trial.stage.is_race] or timed
    low, middle, high = _spread([speed for trial in searched for speed in trial.images_per_second])
    peaks = [trial.peak_memory_bytes for trial in trials if trial.peak_memory_bytes is not None]
    return Measured(
        setting=config.label(),
        cell=config.settings_label(),
        batch_size=config.batch_size,
        outcome=Outcome.OK if timed else next((t.outcome for t in trials if t.outcome is not Outcome.OK), Outcome.OK),
        images_per_second=middle,
        low=low,
        high=high,
        peak_gib=rounded(max(peaks) / GIB) if peaks else None,
        is_baseline=config == record.baseline,
        is_recommended=record.recommendation is not None and config == record.recommendation.config,
    )


def _spread(speeds: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """10th percentile, median, 90th percentile."""
    if not speeds:
        return None, None, None
    deciles = quantiles(speeds, n=10, method="inclusive") if len(speeds) > 1 else speeds
    return rounded(deciles[0]), rounded(median(speeds)), rounded(deciles[-1])


def memory_limit_gib(record: RunRecord) -> float | None:
    """What a trial may take: the run's own limit, else the device's memory."""
    own = record.job.memory_limit_bytes if record.job else None
    limit = own or (record.machine.device_memory_bytes if record.machine else None)
    return rounded(limit / GIB) if limit else None


def trial_rows(record: RunRecord) -> list[list[Any]]:
    """One row under TRIAL_COLUMNS per trial, in their order."""
    return [_row(trial) for trial in record.trials]


def _row(trial: Trial) -> list[Any]:
    low, middle, high = _spread(trial.images_per_second)
    peak = trial.peak_memory_bytes
    return [
        trial.number,
        trial.stage,
        trial.block,
        trial.config.label(),
        trial.outcome,
        middle,
        low,
        high,
        len(trial.step_ms),
        rounded(peak / GIB) if peak is not None else None,
        rounded(trial.duration_s),
        "; ".join(_remarks(trial)),
    ]


def _remarks(trial: Trial) -> list[str]:
    remarks = [cut_short(trial)] if trial.gave_up else [printable(trial.detail)] if trial.detail else []
    if trial.state.throttled:
        remarks.append(f"throttled: {', '.join(trial.state.throttled)}")
    if trial.repeated:
        remarks.append("a repeat, since the first was disturbed")
    if trial.skipped_updates:
        remarks.append(f"{trial.skipped_updates} updates left out: fp16 gradients overflowed")
    return remarks
