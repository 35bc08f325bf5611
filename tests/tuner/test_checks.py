"""Checks of the numerics that fail or tell nothing, and what a search makes of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.records import Outcome, Stage, Trial, VerdictKind
from autotune.tuner.order import Order
from autotune.tuner.search import Findings
from simulated import GPU, SimulatedBench, find

BF16 = TrainingConfig(batch_size=16, precision=Precision.BF16)
ABSURD = 500.0


class CheckedBench(SimulatedBench):
    """checks: how a check of a config ends; all else is measured as ever."""

    def __init__(
        self, checks: Callable[[TrainingConfig], Outcome], *, budget_s: float = 1200.0, **options: Any
    ) -> None:
        super().__init__(GPU, _step_s, budget_s=budget_s, **options)
        self._checks = checks
        self.orders: list[Order] = []

    def measure(self, order: Order) -> Trial:
        self.orders.append(order)
        trial = super().measure(order)
        outcome = self._checks(order.config)
        if order.stage is Stage.NUMERICS and outcome is not Outcome.OK:
            self.trials[-1] = trial.model_copy(update={"outcome": outcome, "detail": "so it ends", "losses": ()})
            if outcome is Outcome.TIMEOUT:
                self.remaining_s += trial.duration_s - order.step_timeout_s
        return self.trials[-1]

    def raced(self) -> set[Precision | None]:
        return {trial.config.precision for trial in self.trials if trial.stage.is_race}


def _step_s(config: TrainingConfig) -> float:
    """Nothing is so much faster than the rest that this is given up."""
    half = {Precision.BF16: 0.18, Precision.FP16: 0.16}
    layout = 0.95 if config.channels_last else 1.0
    return half.get(config.precision or Precision.DEFAULT, 0.2) * layout * (1.0 + 0.1 * (config.accumulation_steps - 1))


def test_where_fp32_has_no_memory_for_the_baselines_batch_losses_are_compared_in_a_smaller_one() -> None:
    def losses(config: TrainingConfig) -> float:
        return ABSURD if config.precision is Precision.FP16 else 2.0

    def checks(config: TrainingConfig) -> Outcome:
        fits = config.precision is not Precision.FP32 or config.batch_size <= 8
        return Outcome.OK if fits else Outcome.OUT_OF_MEMORY

    bench = CheckedBench(checks, losses=losses)
    found = find(bench, baseline=BF16)
    assert found.recommendation.config.precision is Precision.BF16
    assert found.recommendation.verdict.kind is VerdictKind.FASTER, "by its layout"
    assert any(note.startswith("fp16: its losses lie 24900% from fp32's") for note in found.notes)
    checked = [trial.config for trial in bench.trials if trial.stage is Stage.NUMERICS]
    assert [(config.precision, config.batch_size) for config in checked] == [
        (Precision.FP32, 16),
        (Precision.FP32, 8),
        (Precision.FP16, 8),
    ]


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.OUT_OF_MEMORY, Outcome.UNSUPPORTED])
def test_what_fails_in_its_own_check_is_not_recommended_and_the_run_says_why(outcome: Outcome) -> None:
    def checks(config: TrainingConfig) -> Outcome:
        return outcome if config.precision is Precision.FP16 else Outcome.OK

    bench = CheckedBench(checks)
    found = find(bench)
    assert found.recommendation.config.precision is Precision.BF16
    assert Precision.FP16 not in bench.raced()
    assert f"fp16: its check against fp32 failed ({outcome}, so it ends)" in found.notes


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.OUT_OF_MEMORY, Outcome.NON_FINITE, Outcome.TIMEOUT])
def test_without_fp32s_losses_no_reduced_precision_is_raced_but_the_users_own(outcome: Outcome) -> None:
    def checks(config: TrainingConfig) -> Outcome:
        return outcome if config.precision is Precision.FP32 else Outcome.OK

    bench = CheckedBench(checks)
    found = find(bench)
    assert bench.raced() <= {Precision.DEFAULT, Precision.FP32}
    assert found.recommendation.config.channels_last
    assert found.recommendation.verdict.kind is VerdictKind.FASTER
    for precision in ("fp16", "bf16"):
        (note,) = [note for note in found.notes if note.startswith(f"numerics: {precision} could not be checked")]
        assert f"{outcome}, so it ends), so that it was left out of the race" in note
    bench = CheckedBench(checks)
    recommended = find(bench, baseline=BF16).recommendation
    assert bench.raced() == {Precision.BF16}
    assert recommended.config.channels_last
    assert recommended.verdict.kind is VerdictKind.FASTER


def test_what_a_check_leaves_nothing_to_race_of_is_not_said_to_have_had_no_time() -> None:
    bench = CheckedBench(lambda config: Outcome.CRASHED)
    found = find(bench, only=("precision=bf16",))
    assert found.recommendation.config == found.baseline
    assert "did not pass its check against fp32" in found.recommendation.verdict.sentence


REDUCED = (Precision.BF16, Precision.FP16, Precision.TF32)


@pytest.mark.parametrize(
    ("hanging", "budget_s"),
    [((Precision.FP32,), 120.0), ((Precision.FP32,), 300.0), (REDUCED, 200.0), (REDUCED, 300.0)],
)
def test_checks_that_hang_cost_no_more_than_the_race_leaves_them(
    hanging: tuple[Precision, ...], budget_s: float
) -> None:
    bench = CheckedBench(
        lambda config: Outcome.TIMEOUT if config.precision in hanging else Outcome.OK,
        budget_s=budget_s,
        start_s=lambda config: 2.0,
    )
    found = find(bench)
    assert found.recommendation.verdict.ratio is not None, found.recommendation.verdict.sentence
    assert bench.remaining_s > -0.05 * budget_s
    waited_s = [order.step_timeout_s for order in bench.orders if order.stage is Stage.NUMERICS]
    assert min(waited_s) >= 20.0
    assert any("could not be checked against fp32" in note and "timeout" in note for note in found.notes)


def test_a_second_start_of_what_is_compiled_waits_for_no_step_longer_than_the_first() -> None:
    bench = CheckedBench(lambda config: Outcome.OK, budget_s=150.0)
    find(bench, knobs=("compile",))
    compiled = [order for order in bench.orders if order.stage is Stage.KNOBS and order.config.compile]
    again = {order.config: order.step_timeout_s for order in compiled if order.block == 1}
    first = {order.config: order.step_timeout_s for order in compiled if order.block is None}
    assert again
    for config, limit_s in again.items():
        assert 20.0 <= limit_s <= first[config] < 60.0


class QuickRace(CheckedBench):
    """A race takes half of what the trials before it lead to expect, so that there is time after it for the check that
    there was none for before."""

    def measure(self, order: Order) -> Trial:
        trial = super().measure(order)
        if order.stage is Stage.RACE:
            self.remaining_s += trial.duration_s / 2.0
        return trial


def _late_checks(
    losses: Callable[[TrainingConfig], float],
    checks: Callable[[TrainingConfig], Outcome] = lambda config: Outcome.OK,
) -> list[tuple[QuickRace, Findings]]:
    """Of some short budgets, those within which the leader was checked after the race."""
    found = []
    for budget_s in range(20, 60):
        bench = QuickRace(checks, budget_s=float(budget_s), losses=losses)
        findings = find(bench)
        stages = [trial.stage for trial in bench.trials]
        if Stage.NUMERICS in stages and Stage.RACE in stages and stages[-1] is Stage.NUMERICS:
            found.append((bench, findings))
    assert found, "else the test tests nothing"
    return found


def test_what_there_was_no_time_to_check_before_the_race_is_checked_after_it() -> None:
    for bench, found in _late_checks(lambda config: 2.0):
        assert found.recommendation.verdict.kind is VerdictKind.FASTER
        assert found.recommendation.config.is_reduced
        assert not any("left no time to check" in note for note in found.notes)
        assert bench.remaining_s >= -1.0


def test_what_fails_its_check_after_the_race_is_not_recommended() -> None:
    for _, found in _late_checks(lambda config: ABSURD if config.is_reduced else 2.0):
        assert found.recommendation.config == found.baseline
        assert found.recommendation.verdict.kind is VerdictKind.NOT_MEASURED
        assert "won the race, but does not train as fp32 does" in found.recommendation.verdict.sentence
        assert "your baseline stands" in found.recommendation.verdict.sentence


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMEOUT])
def test_what_cannot_be_checked_after_the_race_is_not_recommended_and_waited_for_within_the_budget(
    outcome: Outcome,
) -> None:
    def checks(config: TrainingConfig) -> Outcome:
        return Outcome.OK if config.is_reduced else outcome

    for bench, found in _late_checks(lambda config: 2.0, checks):
        assert found.recommendation.config == found.baseline
        assert "won the race, but could not be checked against fp32" in found.recommendation.verdict.sentence
        assert any("could not be checked against fp32 (fp32" in note for note in found.notes)
        assert bench.remaining_s >= -1.0
