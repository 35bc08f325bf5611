"""Heats before the race: where more configs are close than can race, and what their blocks say of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.records import SIDES_AT_MOST, Outcome, Stage, Trial
from autotune.tuner.cell_search import CellSearch
from autotune.tuner.objective import Objective
from autotune.tuner.search import Findings
from autotune.tuner.space import Space
from autotune.tuner.standings import Standings
from simulated import SimulatedBench

WHERE = Circumstances("cpu", 64)
BASELINE = TrainingConfig.baseline(WHERE)
ONE, OTHER, THIRD = (BASELINE.at_batch_size(size, 64) for size in (32, 16, 8))


def _trial(config: TrainingConfig, gain: float, steps: Sequence[int] = range(4), ms: float = 100.0) -> Trial:
    return Trial(
        number=1,
        stage=Stage.SETTINGS,
        config=config,
        outcome=Outcome.OK,
        step_ms=(ms * math.exp(-gain),) * len(steps),
        steps=tuple(steps),
    )


@pytest.fixture
def standings() -> Standings:
    known = Standings(Objective.THROUGHPUT, None)
    known.begin(_trial(BASELINE, 0.0))
    for config, gain in ((ONE, 0.30), (OTHER, 0.28), (THIRD, 0.27)):
        known.take(_trial(config, gain))
    return known


def _gains(standings: Standings, *configs: TrainingConfig) -> list[float]:
    return [standings.gain(standings.trials[config]) for config in configs]


def test_a_block_of_heats_tells_its_sides_apart_and_leaves_their_mean(standings: Standings) -> None:
    # The block's images take three times as long: its sides are compared with each other.
    standings.begin_heat()
    for config, gain in ((ONE, 0.20), (OTHER, 0.24)):
        standings.take_heat(_trial(config, gain, range(4, 8), ms=300.0))
    assert _gains(standings, ONE, OTHER) == pytest.approx([0.29 - 0.02, 0.29 + 0.02])
    assert _gains(standings, THIRD) == pytest.approx([0.27]), "who took no part keeps what its trial gave"


def test_blocks_of_heats_count_alike_and_the_later_ones_start_where_the_earlier_ones_ended(
    standings: Standings,
) -> None:
    standings.begin_heat()
    for config, gain in ((ONE, 0.20), (OTHER, 0.24)):
        standings.take_heat(_trial(config, gain, range(4, 8), ms=300.0))
    standings.begin_heat()
    for config, gain in ((OTHER, 0.10), (THIRD, 0.14)):
        standings.take_heat(_trial(config, gain, range(8, 12), ms=50.0))
    # 0.31 and 0.27 before the second block: 0.29 on average, which its two lie 0.02 around.
    assert _gains(standings, OTHER, THIRD) == pytest.approx([(0.31 + 0.27) / 2, 0.31])
    assert standings.leader.config == THIRD


def test_who_fails_in_a_heat_has_failed_whatever_it_did_before(standings: Standings) -> None:
    standings.begin_heat()
    for config, gain in ((ONE, 0.30), (OTHER, 0.24), (THIRD, 0.23)):
        standings.take_heat(_trial(config, gain, range(4, 8)))
    standings.begin_heat()
    failed = _trial(ONE, 0.0, range(8, 12)).model_copy(update={"outcome": Outcome.OUT_OF_MEMORY, "step_ms": ()})
    standings.take_heat(failed)
    assert standings.has_failed(ONE)
    assert standings.leader.config == OTHER
    assert _gains(standings, OTHER, THIRD) == pytest.approx([0.275 + 0.005, 0.275 - 0.005])


def _flat_s(config: TrainingConfig) -> float:
    """The batches of bf16 lie within 1.2%: the middle ones are the fastest."""
    batch = 1.0 + 0.004 * abs(math.log2(config.batch_size) - 3.0)
    return 0.5 * batch / (1.5 if config.precision is Precision.BF16 else 1.0)


def _find(bench: SimulatedBench) -> Findings:
    return CellSearch().run(bench, Space(bench.circumstances))


def _heats(bench: SimulatedBench, block: int) -> list[Trial]:
    trials = [trial for trial in bench.trials if trial.stage is Stage.HEATS]
    return [trial for trial in trials if (trial.block or 0) // SIDES_AT_MOST == block]


def test_where_more_are_close_than_can_race_they_meet_first() -> None:
    bench = SimulatedBench(WHERE, _flat_s, noise=0.002, budget_s=3000.0)
    bench.batches_in_turn = 6
    found = _find(bench)
    first, second = _heats(bench, 0), _heats(bench, 1)
    assert len(first) > 4
    assert len(second) <= 4, "the race goes on with those that can race"
    assert {trial.steps for trial in first} == {tuple(range(6))}, "on all images"
    assert {trial.steps for trial in second} == {tuple(range(6, 12))}
    # Within half the zone less memory wins.
    assert found.recommendation.config.batch_size in (2, 4, 8)


def test_few_that_are_close_need_no_first_heats() -> None:
    bench = SimulatedBench(replace(WHERE, effective_batch=2), _flat_s, noise=0.002, budget_s=3000.0)
    _find(bench)
    assert len(_heats(bench, 0)) <= 4


@pytest.mark.parametrize("budget_s", [40.0, 60.0, 90.0, 140.0])
def test_first_heats_leave_the_race_its_time(budget_s: float) -> None:
    bench = SimulatedBench(WHERE, _flat_s, noise=0.002, budget_s=budget_s)
    bench.batches_in_turn = 16
    found = _find(bench)
    assert found.recommendation.verdict.ratio is not None
    assert bench.remaining_s > -0.1 * budget_s
    places = [(trial.block or 0) % SIDES_AT_MOST for trial in _heats(bench, 0)]
    assert sorted(places) == list(range(len(places))), "a block is held whole or not at all"
