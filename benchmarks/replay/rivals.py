"""The rivals, each a reading of its source: what it tries, how it times, and what it recommends.

A rival gets a bench and a surface's space, and returns the config that it would train with. All start a fresh process
per trial, which is kinder to them than what most do: a failed trial harms no other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import fmean, median

from autotune.config import KNOBS, TrainingConfig
from autotune.tuner.space import Space
from benchmarks.replay.replayed import ReplayBench

__all__ = ["RIVALS", "exhaustive_s"]

# Samples of a config in the exhaustive grid.
_GRID_STEPS = 30
_TPE_STEPS = 8
# Trials of those that stop when told: about the device time of our own search.
_RANDOM_TRIALS = 24
_TPE_TRIALS = 30


def _fastest(times: dict[TrainingConfig, float], space: Space) -> TrainingConfig:
    return min(times, key=times.__getitem__) if times else space.baseline


def exhaustive(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Every config in a process of its own, 30 samples, the least median."""
    times = {}
    for config in space.configs():
        samples = bench.time_ms(config, _GRID_STEPS)
        if samples:
            times[config] = median(samples)
    return _fastest(times, space)


def at_random(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Configs drawn without replacement, 8 samples each, the least median."""
    dice = random.Random(bench.seed)
    times = {}
    everything = space.configs()
    for config in dice.sample(everything, min(_RANDOM_TRIALS, len(everything))):
        samples = bench.time_ms(config, _TPE_STEPS)
        if samples:
            times[config] = median(samples)
    return _fastest(times, space)


def one_factor(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Batch size first, then each knob alone, the others as they are best so far; 8 samples each."""
    times: dict[TrainingConfig, float] = {}

    def try_(config: TrainingConfig) -> None:
        if config not in times:
            samples = bench.time_ms(config, _TPE_STEPS)
            times[config] = median(samples) if samples else math.inf

    for config in space.ladder(space.baseline):
        try_(config)
    for knob in KNOBS:
        if knob.name in ("batch_size", "accumulation_steps"):
            continue
        best = _fastest(times, space)
        for value in knob.candidates(space.where):
            try_(best.model_copy(update={knob.name: value}))
    return _fastest(times, space)


def tpe(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Optuna's TPESampler as it comes (github.com/optuna/optuna), 8 samples a trial; out of memory prunes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=bench.seed))
    settings = [knob for knob in KNOBS if knob.name not in ("batch_size", "accumulation_steps")]
    knobs = [knob for knob in settings if knob.candidates(space.where)]
    sizes = [config.batch_size for config in space.ladder(space.baseline)]

    def config_of(asked: Callable[[str, list[object]], object]) -> TrainingConfig:
        values = {knob.name: asked(knob.name, list(knob.candidates(space.where))) for knob in knobs}
        cell = space.baseline.model_copy(update=values)
        return cell.at_batch_size(int(str(asked("batch_size", list(sizes)))), space.where.effective_batch)

    def objective(trial: optuna.Trial) -> float:
        samples = bench.time_ms(config_of(trial.suggest_categorical), _TPE_STEPS)
        if not samples:
            raise optuna.TrialPruned
        return median(samples)

    study.optimize(objective, n_trials=_TPE_TRIALS)
    finished = [each for each in study.trials if each.value is not None]
    if not finished:
        return space.baseline
    best = min(finished, key=lambda each: each.value)
    return config_of(lambda name, values: best.params[name])


def halving(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Accelerate's find_executable_batch_size: from the batch asked for, x0.9 until it fits; no other knob, no timing.

    Here the next smaller divisor of at most 0.9 of it, since accumulation must restore the effective batch."""
    wanted = float(space.where.effective_batch)
    for config in space.ladder(space.baseline):
        if config.batch_size > wanted:
            continue
        if bench.time_ms(config, 1):
            return config
        wanted = 0.9 * config.batch_size
    return space.baseline


def doubling(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Lightning's scale_batch_size in mode power: 2, 4, 8, three steps each, until memory runs out; the last that ran.

    Between the effective batch's divisors: those of at least twice the last."""
    kept, wanted = space.baseline, 2
    for config in reversed(list(space.ladder(space.baseline))):
        if config.batch_size < wanted:
            continue
        if not bench.time_ms(config, 3):
            break
        kept, wanted = config, 2 * config.batch_size
    return kept


def linear_fit(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Ultralytics' autobatch: a line through the memory at batches 1, 2, 4, 8, 16, the batch that it puts at 60% of the
    device; other knobs stay, nothing is verified."""
    points = []
    for size in (each for each in (1, 2, 4, 8, 16) if space.where.effective_batch % each == 0):
        config = space.baseline.at_batch_size(size, space.where.effective_batch)
        if not bench.time_ms(config, 1):
            break
        points.append((size, bench.peak_bytes(config)))
    if len(points) < 2 or bench.memory_bytes is None:
        return space.baseline  # as autobatch does where its probing fails: the batch that was asked for
    sizes, peaks = [size for size, _ in points], [peak for _, peak in points]
    middle, mean = fmean(sizes), fmean(peaks)
    slope = sum((size - middle) * (peak - mean) for size, peak in points)
    slope /= sum((size - middle) ** 2 for size in sizes)
    reach = middle + (0.6 * bench.memory_bytes - mean) / slope if slope > 0 else math.inf
    fitting = [config for config in space.ladder(space.baseline) if config.batch_size <= max(1.0, reach)]
    return fitting[0]


RIVALS: dict[str, Callable[[ReplayBench, Space], TrainingConfig]] = {
    "exhaustive grid": exhaustive,
    "random": at_random,
    "one factor at a time": one_factor,
    "Optuna TPE": tpe,
    "Accelerate halving": halving,
    "Lightning doubling": doubling,
    "Ultralytics 60% fit": linear_fit,
}


def exhaustive_s(bench: ReplayBench, space: Space) -> float:
    """The device time of the exhaustive grid, in seconds."""
    exhaustive(bench, space)
    return bench.spent_s
