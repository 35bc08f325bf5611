"""What the search makes of noisy steps."""

from __future__ import annotations

import math
import random

import pytest

from autotune.config import Circumstances, TrainingConfig
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.objective import Objective
from autotune.tuner.standings import Standings

BASELINE = TrainingConfig.baseline(Circumstances("cpu", 64))
IMAGES = (0.2, -0.3, 0.1, 0.0)


def _trial(size: int, noise: float, steps: int, gain: float = 0.0) -> Trial:
    dice = random.Random(size)
    ms = [100.0 * math.exp(IMAGES[step] - gain + dice.gauss(0.0, noise)) for step in range(steps)]
    warm_up = 100.0 * math.exp(IMAGES[0] - gain + dice.gauss(0.0, noise))
    return Trial(
        number=1,
        stage=Stage.SETTINGS,
        config=BASELINE.at_batch_size(size, 64),
        outcome=Outcome.OK,
        warmup_ms=(warm_up,),
        step_ms=tuple(ms),
        steps=tuple(range(steps)),
        duration_s=1.0,
    )


def _standings(noise: float, steps: int, objective: Objective = Objective.THROUGHPUT) -> Standings:
    standings = Standings(objective, None)
    standings.begin(_trial(64, noise, steps))
    for size, gain in ((32, 0.30), (16, 0.24), (8, 0.10), (4, 0.05), (2, -0.3), (1, -1.0)):
        standings.take(_trial(size, noise, steps, gain))
    return standings


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("noise", [0.01, 0.15])
def test_the_deviation_is_that_of_the_noise_whatever_the_images_and_the_speeds(noise: float, steps: int) -> None:
    # Seven configs of four steps; of one step, with the last of the warm-up.
    assert _standings(noise, steps).deviation == pytest.approx(noise, rel=0.5)


def test_quiet_steps_leave_four_per_cent_and_noisy_ones_more() -> None:
    def close(noise: float) -> list[int]:
        return [trial.config.batch_size for trial in _standings(noise, 4).close()]

    assert close(0.002) == [32]
    assert set(close(0.15)) > {32, 16, 8}


def test_a_baseline_alone_counts_its_images_too() -> None:
    standings = Standings(Objective.THROUGHPUT, None)
    standings.begin(_trial(64, 0.0, 4))
    assert standings.deviation > 0.1
    standings.take(_trial(32, 0.0, 4))
    assert standings.deviation == pytest.approx(0.0, abs=1e-9)


def test_energy_has_the_error_of_its_counter() -> None:
    assert _standings(0.0, 4, Objective.ENERGY).trial_error == pytest.approx(0.0289, rel=0.01)
    assert _standings(0.0, 4).trial_error == pytest.approx(0.0, abs=1e-9)
