"""Recorded grids as surfaces."""

from __future__ import annotations

from math import exp, log
from pathlib import Path
from statistics import fmean, median

from autotune.config import TrainingConfig
from autotune.errors import RecordError
from autotune.grid_record import load_grid
from autotune.records import Outcome
from autotune.tuner.bench import circumstances
from autotune.tuner.space import Space
from benchmarks.replay.surfaces import Recorded, Surface

__all__ = ["read_grid"]


def read_grid(path: Path) -> Surface:
    """A config's true time is the mean of its samples. What a step's images make of its time is what it differs by in
    all configs; the rest of how samples vary is the machine's. What failed fails in the same way. Raises RecordError
    where the grid is not whole."""
    grid = load_grid(path)
    if not grid.complete:
        raise RecordError(f"{path}: the recording was interrupted, and what it lacks would count as out of memory")
    where = circumstances(grid.job, grid.machine)
    memory_bytes = grid.job.memory_limit_bytes or grid.machine.device_memory_bytes or grid.machine.memory_bytes
    samples: dict[TrainingConfig, dict[int, float]] = {}
    peaks: dict[TrainingConfig, int] = {}
    for trial in grid.trials:
        if trial.outcome is Outcome.OK and trial.step_ms:
            samples.setdefault(trial.config, {}).update(zip(trial.steps, trial.step_ms, strict=True))
            peaks[trial.config] = max(peaks.get(trial.config, 0), trial.peak_memory_bytes or 0)
    failures = {trial.config: trial.outcome for trial in grid.trials if trial.outcome not in _MEASURED}
    middles = {config: fmean(timed.values()) for config, timed in samples.items()}
    images, rest = _apart({config: _over(timed, middles[config]) for config, timed in samples.items()})
    step_s, peak_bytes, ratios = {}, {}, {}
    for config in Space(where).configs():
        step_s[config] = middles.get(config, max(middles.values())) / 1000.0
        peak_bytes[config] = peaks.get(config, 2 * memory_bytes)
        ratios[config] = rest.get(config, (1.0,))
    name = path.name.partition(".")[0]
    return Surface(name, where, step_s, peak_bytes, memory_bytes, Recorded(images, ratios), failures)


def _over(timed: dict[int, float], middle: float) -> dict[int, float]:
    return {step: log(ms / middle) for step, ms in timed.items()}


def _apart(
    logs: dict[TrainingConfig, dict[int, float]],
) -> tuple[tuple[float, ...], dict[TrainingConfig, tuple[float, ...]]]:
    """Factors of the images, by step, and of the rest, by config. The images' are medians over the configs: a step that
    the machine disturbed in a few of them says nothing of its images."""
    steps = sorted(set.intersection(*(set(timed) for timed in logs.values())))
    images = {step: median(timed[step] for timed in logs.values()) for step in steps}
    rest = {}
    for config, timed in logs.items():
        factors = [exp(timed[step] - images[step]) for step in steps]
        # Taken together they change nothing: the mean of the samples is the true time.
        whole = fmean(exp(images[step]) for step in steps) * fmean(factors)
        rest[config] = tuple(each / whole for each in factors)
    return tuple(exp(images[step]) for step in steps), rest


# Timed, or larger than the memory; what the grid left out is larger than such a one.
_MEASURED = (Outcome.OK, Outcome.OUT_OF_MEMORY, Outcome.THRASH)
