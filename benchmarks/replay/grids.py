"""Recorded grids as surfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from autotune.config import TrainingConfig
from autotune.errors import RecordError
from autotune.grid_record import Grid, load_grid
from autotune.records import Outcome, Trial
from autotune.tuner.bench import circumstances
from autotune.tuner.passes import batches_in_turn
from autotune.tuner.space import Space
from benchmarks.replay.drift import drift
from benchmarks.replay.replayed import WARM_UP_STEPS, worst_case_share
from benchmarks.replay.surfaces import Surface

__all__ = ["read_grid"]


def read_grid(path: Path) -> Surface:
    """A config's true time is the mean of its samples, less the drift of the machine that recorded them, and its
    processes vary as the recorded ones do: by process, by step, by what images make of a batch; a start takes what the
    recorded ones took. What failed in any round fails.

    Raises RecordError where not one round of it is whole, or nothing in it trained.
    """
    grid = load_grid(path)
    trials = _of_whole_rounds(grid)
    if not trials:
        raise RecordError(f"{path}: the recording was interrupted in its first round: what it lacks is not known")
    where = circumstances(grid.job, grid.machine)
    memory_bytes = grid.job.memory_limit_bytes or grid.machine.device_memory_bytes or grid.machine.memory_bytes
    rounds: dict[TrainingConfig, dict[int | None, Trial]] = {}
    for trial in trials:
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
    period = batches_in_turn(grid.workload.images_in_turn, grid.job.effective_batch)
    steady_ms = _without_drift(grid.trials, timed)
    recorded = {
        config: _processes([steady_ms[trial.number] for trial in trials], period) for config, trials in timed.items()
    }
    means_ms = {config: fmean(ms for process in each for ms in process) for config, each in recorded.items()}
    step_s, peak_bytes, processes = {}, {}, {}
    for config in Space(where, knobs=grid.knobs, only=grid.only).configs():
        mean_ms = means_ms.get(config, max(means_ms.values()))
        step_s[config] = mean_ms / 1000.0
        # What was left out is larger than what ran out of memory.
        peaks = [trial.peak_memory_bytes or 0 for trial in timed.get(config, [])]
        peak_bytes[config] = max(peaks, default=2 * memory_bytes)
        each = recorded.get(config, [(mean_ms,)])
        processes[config] = tuple(tuple(ms / mean_ms for ms in process) for process in each)
    name = path.name.partition(".")[0]
    starts_s = {config: median(map(_start_s, trials)) for config, trials in timed.items()}
    start_s = median(each for config, each in starts_s.items() if not config.compile)
    compiling_s = {config: each - start_s for config, each in starts_s.items() if each > start_s}
    return Surface(
        name,
        where,
        step_s,
        peak_bytes,
        memory_bytes,
        processes,
        failures,
        start_s,
        compiling_s,
        knobs=grid.knobs,
        only=grid.only,
        # No other steps were recorded than these.
        batches_in_turn=min(period, max(len(process) for each in recorded.values() for process in each)),
    )


def _of_whole_rounds(grid: Grid) -> list[Trial]:
    """Without the round in which the recording was interrupted: what that lacks would count as out of memory."""
    cut_off = None if grid.complete else max((trial.block or 0 for trial in grid.trials), default=0)
    return [trial for trial in grid.trials if (trial.block or 0) != cut_off]


def _without_drift(recorded: Sequence[Trial], timed: dict[TrainingConfig, list[Trial]]) -> dict[int, tuple[float, ...]]:
    """The times of the steps of each timed trial, by its number, as the machine would have taken them at its usual
    speed."""
    numbers = {trial.number for trials in timed.values() for trial in trials}
    logs = drift(recorded, [trial.number in numbers for trial in recorded])
    return {
        trial.number: tuple(ms * math.exp(-log) for ms in trial.step_ms)
        for trial, log in zip(recorded, logs, strict=True)
        if trial.number in numbers
    }


def _start_s(trial: Trial) -> float:
    """What a trial took beyond its steps, had those of its warm-up taken the usual time: its start, and what was
    compiled in its first steps."""
    step_s = fmean(trial.step_ms) / 1000.0
    usual_s = step_s * (len(trial.step_ms) + len(trial.rehearsal_ms) + WARM_UP_STEPS - 1)
    return max(0.0, trial.duration_s - usual_s - step_s * worst_case_share(trial.config))


def _processes(samples: list[tuple[float, ...]], period: int) -> list[tuple[float, ...]]:
    """The recorded processes, of those that hold a whole pass over the images no part of another: it would weigh its
    images twice. Where there is but one, each of its passes stands for one."""
    whole = [each[: len(each) // period * period] or each for each in samples]
    if len(whole) > 1 or len(whole[0]) < 2 * period:
        return whole
    (only,) = whole
    return [only[start : start + period] for start in range(0, len(only), period)]
