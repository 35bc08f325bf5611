"""The rivals, each a reading of its source: what it tries, how it times, and what it recommends.

A rival gets a bench and a surface's space, and returns the config that it would train with. All start a fresh process
per trial, which is kinder to them than what most do: a failed trial harms no other. What has no end of its own goes on
until the bench's budget is spent.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING

from autotune.config import SETTINGS, Precision, TrainingConfig
from autotune.tuner.space import Space
from benchmarks.replay.replayed import ReplayBench

if TYPE_CHECKING:
    import optuna

__all__ = ["BATCH_RIVALS", "RIVALS", "exhaustive_s"]

# Samples of a config in the exhaustive grid, and in a trial of the others.
_GRID_STEPS, _STEPS = 30, 8


def _fastest(times: dict[TrainingConfig, float], space: Space) -> TrainingConfig:
    return min(times, key=times.__getitem__) if times else space.baseline


def _without_idle(config: TrainingConfig, space: Space) -> TrainingConfig:
    """A value that changes nothing beside the others is the config without it."""
    for knob in space.extra_knobs:
        if knob.idle_beside(getattr(config, knob.name), config):
            config = config.model_copy(update={knob.name: knob.baseline(space.where)})
    return config


def _allowed(config: TrainingConfig, space: Space) -> TrainingConfig:
    """What --only leaves out gives way to the first of what it leaves: the baseline may be all there is of it."""
    values = {knob.name: space.values(knob) for knob in SETTINGS}
    return config.model_copy(
        update={name: allowed[0] for name, allowed in values.items() if getattr(config, name) not in allowed}
    )


def exhaustive(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Every config in a process of its own, 30 samples, the least mean: image sizes skew what a median would tell."""
    times = {}
    for config in space.configs():
        samples = bench.time_ms(config, _GRID_STEPS)
        if samples:
            times[config] = fmean(samples)
    return _fastest(times, space)


def at_random(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Configs drawn without replacement, 8 samples each, the least mean."""
    times = {}
    everything = space.configs()
    for config in random.Random(bench.seed).sample(everything, len(everything)):
        if bench.remaining_s <= 0:
            break
        samples = bench.time_ms(config, _STEPS)
        if samples:
            times[config] = fmean(samples)
    return _fastest(times, space)


def one_factor(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Batch size first, then each knob alone, the others as they are best so far; 8 samples each; from the start again
    until a round finds nothing new."""
    times: dict[TrainingConfig, float] = {}

    def try_(config: TrainingConfig) -> None:
        if config not in times and bench.remaining_s > 0:
            samples = bench.time_ms(config, _STEPS)
            times[config] = fmean(samples) if samples else math.inf

    before = -1
    while before < len(times):
        before = len(times)
        for config in space.ladder(_fastest(times, space)):
            try_(config)
        for knob in (*SETTINGS, *space.extra_knobs):
            for config in space.with_knob(_fastest(times, space), knob):
                try_(_without_idle(_allowed(config, space), space))
    return _fastest(times, space)


def tpe(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Optuna's TPESampler as it comes (github.com/optuna/optuna), all knobs categorical; out of memory prunes."""
    import optuna

    return _tpe(bench, space, optuna.samplers.TPESampler(seed=bench.seed), in_order=False)


def joint_tpe(bench: ReplayBench, space: Space) -> TrainingConfig:
    """The same with what its documents advise where parameters depend on each other: multivariate and grouped; the
    batch size as the number of its rung, so that it has an order."""
    import optuna

    with warnings.catch_warnings():
        # Both are called experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=bench.seed, multivariate=True, group=True)
    return _tpe(bench, space, sampler, in_order=True)


def _tpe(bench: ReplayBench, space: Space, sampler: optuna.samplers.BaseSampler, *, in_order: bool) -> TrainingConfig:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    meant = [knob for knob in SETTINGS if knob.candidates(space.where)]
    values_of = {knob.name: space.values(knob) for knob in (*meant, *space.extra_knobs)}
    sizes = sorted(config.batch_size for config in space.ladder(space.baseline))
    tried: dict[int, TrainingConfig] = {}

    def objective(trial: optuna.Trial) -> float:
        values = {name: trial.suggest_categorical(name, values) for name, values in values_of.items()}
        if in_order:
            size = sizes[trial.suggest_int("rung", 0, len(sizes) - 1)]
        else:
            size = trial.suggest_categorical("batch_size", sizes)
        config = space.baseline.model_copy(update=values).at_batch_size(size, space.where.effective_batch)
        config = _without_idle(config, space)
        samples = bench.time_ms(config, _STEPS)
        if not samples:
            raise optuna.TrialPruned
        tried[trial.number] = config
        return fmean(samples)

    while bench.remaining_s > 0 and bench.trials < len(space.configs()):
        study.optimize(objective, n_trials=1)
    finished = [each for each in study.trials if each.value is not None]
    return tried[min(finished, key=lambda each: each.value).number] if finished else space.baseline


def halving(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Accelerate's find_executable_batch_size (huggingface/accelerate, src/accelerate/utils/memory.py at 4e48dde9):
    half the batch until it fits, from the effective one; no other knob, no timing. Later versions take 0.9 of it.

    Here the largest divisor within it, since accumulation must restore the effective batch."""
    wanted = space.where.effective_batch
    rungs = list(space.ladder(space.baseline))
    while wanted:
        config = next(config for config in rungs if config.batch_size <= wanted)
        if bench.time_ms(config, 1):
            return config
        wanted //= 2
    return space.baseline


def doubling(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Lightning's scale_batch_size in mode power (Lightning-AI/pytorch-lightning,
    src/lightning/pytorch/tuner/batch_size_scaling.py at a9ca6b1b): 2, 4, 8, three steps each, until memory runs out;
    the last that ran, or 1 where 2 did not.

    Between the effective batch's divisors: those of at least twice the last."""
    kept, wanted = space.baseline.at_batch_size(1, space.where.effective_batch), 2
    for config in sorted(space.ladder(space.baseline), key=lambda config: config.batch_size):
        if config.batch_size < wanted:
            continue
        if not bench.time_ms(config, 3):
            break
        kept, wanted = config, 2 * config.batch_size
    return kept


def linear_fit(bench: ReplayBench, space: Space) -> TrainingConfig:
    """Ultralytics' autobatch (ultralytics/ultralytics, ultralytics/utils/autobatch.py at c1c106e5) and its trainer's
    AMP: a line through the memory at batches of 1 to 16, to 64 from 16 GiB on, the batch that it puts at 60% of the
    device; below the first that failed; nothing is timed or verified. Its default batch of 16 on a CPU.

    Here the largest divisor of the effective batch within it, and AMP as far as --only leaves fp16."""
    rungs = list(space.ladder(space.baseline))
    default = next(config for config in rungs if config.batch_size <= _ULTRALYTICS_DEFAULT)
    if space.where.device_type == "cpu" or bench.memory_bytes is None:
        return default
    fp16 = [config.model_copy(update={"precision": Precision.FP16}) for config in rungs]
    amp = {config.batch_size: _allowed(config, space) for config in fp16}
    default = amp[default.batch_size]
    points, failed = [], None
    for size in (1, 2, 4, 8, 16, 32, 64)[: 5 if bench.memory_bytes < 16 * _GIB else 7]:
        if size not in amp:
            continue
        if bench.time_ms(amp[size], 1):
            points.append((size, bench.peak_bytes(amp[size]) / _GIB))
        else:
            failed = failed or size
    if len(points) < 2:
        return default
    sizes, peaks = [size for size, _ in points], [peak for _, peak in points]
    middle, mean = fmean(sizes), fmean(peaks)
    slope = sum((size - middle) * (peak - mean) for size, peak in points)
    slope /= sum((size - middle) ** 2 for size in sizes)
    found = int((round(0.6 * bench.memory_bytes / _GIB) - (mean - slope * middle)) / slope) if slope > 0 else 0
    if failed is not None and found >= failed:
        found = max((size for size in sizes if size < failed), default=0)
    if not 1 <= found <= _ULTRALYTICS_LARGEST:
        return default
    return amp[max(size for size in amp if size <= found)]


_ULTRALYTICS_DEFAULT, _ULTRALYTICS_LARGEST = 16, 1024
_GIB = 2**30

RIVALS: dict[str, Callable[[ReplayBench, Space], TrainingConfig]] = {
    "exhaustive grid": exhaustive,
    "random": at_random,
    "one factor at a time": one_factor,
    "Optuna TPE": tpe,
    "Optuna TPE, joint": joint_tpe,
}
# Those that look for a batch that fits, and not for speed.
BATCH_RIVALS: dict[str, Callable[[ReplayBench, Space], TrainingConfig]] = {
    "Accelerate halving": halving,
    "Lightning doubling": doubling,
    "Ultralytics 60% fit": linear_fit,
}


def exhaustive_s(bench: ReplayBench, space: Space) -> float:
    """The device time of the exhaustive grid, in seconds."""
    exhaustive(bench, space)
    return bench.spent_s
