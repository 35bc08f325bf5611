"""The replay measures as the live bench does: a step has a limit, and what is shown of a trial is what it took."""

from __future__ import annotations

from dataclasses import replace
from statistics import stdev

import pytest

from autotune.config import TrainingConfig
from autotune.records import Outcome, Stage
from autotune.tuner.order import Order
from benchmarks.replay.replayed import Noise, ReplayBench
from benchmarks.replay.surfaces import Surface, synthetic

NO_NOISE = Noise(0.0, 0.0, 0.0)
MADE = synthetic(0, 16)
CONFIG = MADE.space.baseline.at_batch_size(2, 16)


def _compiling(config: TrainingConfig, seconds: float) -> Surface:
    return replace(MADE, compiling_s={config: seconds})


@pytest.mark.parametrize(("stage", "steps"), [(Stage.SETTINGS, range(3)), (Stage.MEMORY, range(0))])
def test_a_start_that_compiles_for_longer_than_a_step_may_take_is_a_timeout(stage: Stage, steps: range) -> None:
    bench = ReplayBench(_compiling(CONFIG, 25.0), NO_NOISE, 0, budget_s=300.0)
    trial = bench.measure(Order(stage, CONFIG, steps, step_timeout_s=20.0))
    assert (trial.outcome, trial.detail) == (Outcome.TIMEOUT, "no step ended within 20.0 s")
    assert (trial.step_ms, trial.warmup_ms, trial.peak_memory_bytes) == ((), (), None)
    assert trial.duration_s == bench.spent_s == 20.0
    waited_for = bench.measure(Order(stage, CONFIG, steps, step_timeout_s=40.0))
    assert waited_for.outcome is Outcome.OK
    assert waited_for.duration_s > 27.0


def test_a_check_of_the_numerics_is_waited_for_as_long_as_all_its_steps_may_take() -> None:
    bench = ReplayBench(_compiling(CONFIG, 25.0), NO_NOISE, 0)
    assert bench.measure(Order(Stage.NUMERICS, CONFIG, range(6), step_timeout_s=120.0)).outcome is Outcome.OK
    late = bench.measure(Order(Stage.NUMERICS, CONFIG, range(6), step_timeout_s=24.0))
    assert (late.outcome, late.duration_s, late.losses) == (Outcome.TIMEOUT, 24.0, ())


def test_what_compiles_may_take_a_share_of_the_budget_beyond_its_limit() -> None:
    compiled = CONFIG.model_copy(update={"compile": True})
    surface = replace(
        MADE,
        step_s={**MADE.step_s, compiled: 1.0},
        peak_bytes={**MADE.peak_bytes, compiled: 1},
        compiling_s={compiled: 100.0},
    )
    order = Order(Stage.KNOBS, compiled, range(1), step_timeout_s=20.0)
    assert ReplayBench(surface, NO_NOISE, 0, budget_s=300.0).measure(order).outcome is Outcome.OK
    assert ReplayBench(surface, NO_NOISE, 0, budget_s=120.0).measure(order).outcome is Outcome.TIMEOUT


def test_rivals_wait_for_any_start() -> None:
    assert ReplayBench(_compiling(CONFIG, 1000.0), NO_NOISE, 0).time_ms(CONFIG, 2)


def test_a_warm_up_varies_as_its_process_and_its_steps_do() -> None:
    bench = ReplayBench(_compiling(CONFIG, 5.0), Noise(0.05, step=0.01, drift=0.0), 0)
    trials = [bench.measure(Order(Stage.SETTINGS, CONFIG, range(4))) for _ in range(200)]
    true_ms = 1000.0 * MADE.step_s[CONFIG]
    last = [trial.warmup_ms[-1] for trial in trials]
    assert stdev(last) / true_ms == pytest.approx(0.051, rel=0.2)
    within = [trial.warmup_ms[-1] / (sum(trial.step_ms) / 4) for trial in trials]
    assert stdev(within) == pytest.approx(0.011, rel=0.2), "its steps are its process's"
    first = sum(trial.warmup_ms[0] for trial in trials) / len(trials)
    assert first == pytest.approx(5000.0 + true_ms, rel=0.01), "the first step holds what is compiled"
