"""Recorded grids as surfaces."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from autotune.errors import RecordError
from autotune.grid_record import load_grid
from autotune.records import Outcome
from autotune.tuner.bench import circumstances
from autotune.tuner.space import Space
from benchmarks.replay.surfaces import Surface

__all__ = ["read_grid"]


def read_grid(path: Path) -> Surface:
    """A config's true time is the mean of its samples, and its steps vary as the samples do around it. What failed
    fails in the same way. Raises RecordError where the grid is not whole."""
    grid = load_grid(path)
    if not grid.complete:
        raise RecordError(f"{path}: the recording was interrupted, and what it lacks would count as out of memory")
    where = circumstances(grid.job, grid.machine)
    memory_bytes = grid.job.memory_limit_bytes or grid.machine.device_memory_bytes or grid.machine.memory_bytes
    timed = {trial.config: trial for trial in grid.trials if trial.outcome is Outcome.OK and trial.step_ms}
    failures = {trial.config: trial.outcome for trial in grid.trials if trial.outcome not in _MEASURED}
    slowest_s = max(fmean(trial.step_ms) for trial in timed.values()) / 1000.0
    step_s, peak_bytes, ratios = {}, {}, {}
    for config in Space(where).configs():
        trial = timed.get(config)
        middle = fmean(trial.step_ms) if trial else 1000.0 * slowest_s
        step_s[config] = middle / 1000.0
        peak_bytes[config] = (trial.peak_memory_bytes or 0) if trial else 2 * memory_bytes
        ratios[config] = tuple(each / middle for each in trial.step_ms) if trial else (1.0,)
    name = path.name.partition(".")[0]
    return Surface(name, where, step_s, peak_bytes, memory_bytes, ratios, failures)


# Timed, or larger than the memory; what the grid left out is larger than such a one.
_MEASURED = (Outcome.OK, Outcome.OUT_OF_MEMORY, Outcome.THRASH)
