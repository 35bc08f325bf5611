"""The drift of a recording machine, taken out of a grid."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import fmean, stdev

import pytest

from autotune.config import TrainingConfig
from autotune.records import Outcome, Stage, Trial
from benchmarks.replay.drift import drift

_CONFIGS = [TrainingConfig(batch_size=1, accumulation_steps=number) for number in range(1, 41)]


def _recording(wander: Callable[[float], float], noise: float, rounds: int = 3, seed: int = 3) -> list[Trial]:
    """Three rounds in random order, 20 s a trial; the number of a config is its true time in ms over 100."""
    dice, found, at_s = random.Random(seed), [], 0.0
    for block in range(rounds):
        for config in dice.sample(_CONFIGS, len(_CONFIGS)):
            ms = 100.0 * config.accumulation_steps * math.exp(wander(at_s) + dice.gauss(0.0, noise))
            found.append(
                Trial(
                    number=len(found) + 1,
                    stage=Stage.SETTINGS,
                    block=block,
                    config=config,
                    outcome=Outcome.OK,
                    step_ms=(ms, ms),
                    steps=(0, 1),
                    duration_s=20.0,
                )
            )
            at_s += 20.0
    return found


def _errors(trials: list[Trial], logs: list[float]) -> list[float]:
    """Of each config's time, as ln, by its rounds' mean."""
    times: dict[TrainingConfig, list[float]] = {}
    for trial, log in zip(trials, logs, strict=True):
        times.setdefault(trial.config, []).append(math.log(fmean(trial.step_ms)) - log)
    return [fmean(values) - math.log(100.0 * config.accumulation_steps) for config, values in times.items()]


def test_what_the_machine_drifts_by_within_minutes_is_taken_out() -> None:
    trials = _recording(lambda at_s: 0.05 * math.sin(at_s / 100.0), noise=0.01)
    logs = drift(trials, [True] * len(trials))
    assert stdev(_errors(trials, logs)) < 0.4 * stdev(_errors(trials, [0.0] * len(trials)))
    assert fmean(logs) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_a_steady_machine_is_left_as_it_is(seed: int) -> None:
    trials = _recording(lambda at_s: 0.0, noise=0.02, seed=seed)
    assert drift(trials, [True] * len(trials)) == [0.0] * len(trials)


def test_what_is_not_counted_or_was_timed_once_tells_of_no_drift() -> None:
    once = _recording(lambda at_s: 0.05 * math.sin(at_s / 100.0), noise=0.0, rounds=1)
    assert drift(once, [True] * len(once)) == [0.0] * len(once)
    trials = _recording(lambda at_s: 0.0, noise=0.0)
    # One trial stalled, and is none of those that count.
    trials[50] = trials[50].model_copy(update={"step_ms": (9e6, 9e6)})
    assert drift(trials, [place != 50 for place in range(len(trials))]) == pytest.approx([0.0] * len(trials))
