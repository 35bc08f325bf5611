"""The measured configs as a table: one row per config."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from autotune.config import TrainingConfig
from autotune.records import Outcome, RunRecord, Stage, Trial
from autotune.reports.heats_note import heats_note
from autotune.reports.plain import printable
from autotune.reports.si import GIB
from autotune.reports.speed_ratio import over_blocks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cut_short", "trials_frame", "trials_table"]

_COLUMNS = (
    "setting",
    "is_baseline",
    "is_recommended",
    "outcome",
    "trials",
    "best_images_per_second",
    "median_images_per_second",
    "p10_images_per_second",
    "p90_images_per_second",
    "ratio",
    "race_images_per_second",
    "race_ratio",
    "peak_memory_gib",
    "notes",
)


def trials_table(record: RunRecord) -> list[dict[str, Any]]:
    """One row per config: the baseline first, then the recommended one, the others by speed, and those that failed.

    best_, median_, p10_, p90_images_per_second: over the trials of the search: the best trial's median, then median
    and 10th to 90th percentile of all timed steps. ratio: times as fast as the baseline on the images that both timed,
    within the search. The race is pooled apart, since it runs later, side by side with the baseline, and is what the
    verdict comes from: race_images_per_second, the geometric mean of its blocks, and race_ratio. Absent figures are
    NaN.
    """
    # What trained for its losses alone, as fp32 beside a reduced precision, has nothing to show here.
    shown = (trial.config for trial in record.trials if trial.stage is not Stage.NUMERICS or not trial.losses)
    rows = [_row(record, config) for config in dict.fromkeys(shown)]
    return sorted(rows, key=_place)


def trials_frame(record: RunRecord) -> pd.DataFrame:
    """The same for pandas, whose import takes longer than a report."""
    import pandas as pd

    figures = {column: float for column in _COLUMNS if column.endswith(("per_second", "ratio", "gib"))}
    frame = pd.DataFrame(trials_table(record), columns=list(_COLUMNS))
    return frame.astype({**figures, "is_baseline": bool, "trials": int})


def _place(row: dict[str, Any]) -> tuple[bool, bool, bool, float]:
    # A race on a steadier machine than the search's may give what it recommends a smaller ratio than others' there.
    speed = row["ratio"] if math.isnan(row["race_ratio"]) else row["race_ratio"]
    is_failed = row["outcome"] != Outcome.OK
    return not row["is_baseline"], not row["is_recommended"], is_failed, math.inf if math.isnan(speed) else -speed


def _row(record: RunRecord, config: TrainingConfig) -> dict[str, Any]:
    trials = [trial for trial in record.standing if trial.config == config]
    timed = [trial for trial in trials if trial.outcome is Outcome.OK and trial.step_ms]
    search = [trial for trial in timed if not trial.stage.is_race]
    race = [trial for trial in timed if trial.stage is Stage.RACE]
    low, middle, high = _spread([sample for trial in search for sample in trial.images_per_second])
    peaks = [trial.peak_memory_bytes for trial in trials if trial.peak_memory_bytes is not None]
    return {
        "setting": config.label(),
        "is_baseline": config == record.baseline,
        "is_recommended": record.recommendation is not None and config == record.recommendation.config,
        "outcome": str(Outcome.OK if timed else _first_failure(trials)),
        "trials": len(trials),
        "best_images_per_second": max((trial.median_images_per_second or 0.0 for trial in search), default=math.nan),
        "median_images_per_second": middle,
        "p10_images_per_second": low,
        "p90_images_per_second": high,
        "ratio": _ratio(_timed_baseline(record, race=False), search),
        "race_images_per_second": _race_speed(record, race),
        "race_ratio": _race_ratio(record, config, race),
        "peak_memory_gib": max(peaks) / GIB if peaks else math.nan,
        "notes": "; ".join(filter(None, [*_notes(trials), heats_note(record, config)])),
    }


def _spread(samples: Sequence[float]) -> tuple[float, float, float]:
    """10th percentile, median, 90th percentile."""
    if not samples:
        return math.nan, math.nan, math.nan
    deciles = quantiles(samples, n=10, method="inclusive") if len(samples) > 1 else samples
    return deciles[0], median(samples), deciles[-1]


def _first_failure(trials: Sequence[Trial]) -> Outcome:
    return next((trial.outcome for trial in trials if trial.outcome is not Outcome.OK), Outcome.OK)


def _notes(trials: Sequence[Trial]) -> list[str]:
    """What a reader of the row should know of its trials."""
    failed = [trial.outcome for trial in trials if trial.outcome is not Outcome.OK]
    notes = []
    if failed and len(failed) < len(trials):
        notes.append(f"{len(failed)} of {len(trials)} trials failed: {', '.join(sorted(set(failed)))}")
    notes += sorted({cut_short(trial) for trial in trials if trial.gave_up})
    if any(trial.state.throttled for trial in trials):
        notes.append("throttled")
    return notes


def cut_short(trial: Trial) -> str:
    """Why a trial that gave up did so."""
    return f"cut short: {printable(trial.detail) or 'far behind the leader'}"


def _timed_baseline(record: RunRecord, *, race: bool) -> list[Trial]:
    return [
        trial
        for trial in record.standing
        if trial.config == record.baseline
        and trial.outcome is Outcome.OK
        and trial.step_ms
        and trial.stage.is_race == race
    ]


def _race_ratio(record: RunRecord, config: TrainingConfig, race: Sequence[Trial]) -> float:
    """The verdict's own ratio for its candidate, so that a report names one figure for it; else from the trials."""
    verdict = record.recommendation.verdict if record.recommendation else None
    if race and verdict and verdict.candidate == config and verdict.measure == "speed" and verdict.ratio is not None:
        return verdict.ratio
    return _ratio(_timed_baseline(record, race=True), race)


def _race_speed(record: RunRecord, race: Sequence[Trial]) -> float:
    """Over the blocks of the verdict's two sides, where it took part in them: who failed in the final took part in
    others, of other images."""
    verdict = record.recommendation.verdict if record.recommendation else None
    sides = (record.baseline, verdict.candidate if verdict else None)
    timed = [trial for trial in record.standing if trial.stage is Stage.RACE and trial.step_ms]
    blocks = [{trial.steps for trial in timed if trial.config == side} for side in sides]
    common = blocks[0] & blocks[1]
    paired = [trial for trial in race if trial.steps in common] or race
    return over_blocks(paired) if paired else math.nan


def _ratio(baseline: Sequence[Trial], candidate: Sequence[Trial]) -> float:
    """Times as fast as the baseline over the steps that both timed: the same images, whose sizes vary.

    The ratio of median throughputs where no step is common or the steps hold different numbers of images. NaN where a
    side has none.
    """
    if not baseline or not candidate:
        return math.nan
    theirs, ours = _ms_by_step(baseline), _ms_by_step(candidate)
    both = theirs.keys() & ours.keys()
    if both and baseline[0].config.images_per_step == candidate[0].config.images_per_step:
        return sum(theirs[step] for step in both) / sum(ours[step] for step in both)
    speeds = [median(s for trial in side for s in trial.images_per_second) for side in (candidate, baseline)]
    return speeds[0] / speeds[1]


def _ms_by_step(trials: Sequence[Trial]) -> dict[int, float]:
    times: dict[int, list[float]] = {}
    for trial in trials:
        for step, ms in zip(trial.steps, trial.step_ms, strict=False):
            times.setdefault(step, []).append(ms)
    return {step: median(values) for step, values in times.items()}
