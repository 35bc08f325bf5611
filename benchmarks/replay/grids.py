"""Recorded grids as surfaces."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from autotune.config import TrainingConfig
from autotune.errors import RecordError
from autotune.grid_record import load_grid
from autotune.records import Outcome, Trial
from autotune.tuner.bench import circumstances
from autotune.tuner.space import Space
from benchmarks.replay.surfaces import Recorded, Surface

__all__ = ["read_grid"]


def read_grid(path: Path) -> Surface:
    """A config's true time is the mean of its samples, and its processes vary as the recorded ones do: by process, by
    step, by what images make of a batch. What failed in any round fails.

    Raises RecordError where the grid is not whole, or nothing in it trained.
    """
    grid = load_grid(path)
    if not grid.complete:
        raise RecordError(f"{path}: the recording was interrupted, and what it lacks would count as out of memory")
    where = circumstances(grid.job, grid.machine)
    memory_bytes = grid.job.memory_limit_bytes or grid.machine.device_memory_bytes or grid.machine.memory_bytes
    rounds: dict[TrainingConfig, dict[int | None, Trial]] = {}
    for trial in grid.trials:
        known = rounds.setdefault(trial.config, {})
        # Of a disturbed trial and its repeat the less disturbed counts, as it does for the bench.
        if trial.block not in known or trial.disturbances < known[trial.block].disturbances:
            known[trial.block] = trial
    whole = max(map(len, rounds.values()), default=0)
    timed: dict[TrainingConfig, list[Trial]] = {}
    failures: dict[TrainingConfig, Outcome] = {}
    for config, trials in rounds.items():
        failed = [trial.outcome for trial in trials.values() if trial.outcome is not Outcome.OK]
        if not failed and len(trials) == whole:
            timed[config] = list(trials.values())
        elif failed and failed[0] not in (Outcome.OUT_OF_MEMORY, Outcome.THRASH):
            failures[config] = failed[0]
    if not timed:
        raise RecordError(f"{path}: nothing in it trained")
    step_s, peak_bytes, processes = {}, {}, {}
    slowest_s = max(_mean_s(trials) for trials in timed.values())
    for config in Space(where).configs():
        trials = timed.get(config, [])
        step_s[config] = _mean_s(trials) if trials else slowest_s
        # What was left out is larger than what ran out of memory.
        peak_bytes[config] = max((trial.peak_memory_bytes or 0 for trial in trials), default=2 * memory_bytes)
        factors = [tuple(ms / 1000.0 / step_s[config] for ms in trial.step_ms) for trial in trials]
        processes[config] = tuple(factors) or ((1.0,),)
    name = path.name.partition(".")[0]
    return Surface(name, where, step_s, peak_bytes, memory_bytes, Recorded(processes), failures)


def _mean_s(trials: list[Trial]) -> float:
    return fmean(ms for trial in trials for ms in trial.step_ms) / 1000.0
