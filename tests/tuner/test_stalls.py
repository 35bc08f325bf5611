"""Configs that stall on every image size that is new to a process: given up, and what a run says of them."""

from __future__ import annotations

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.records import Outcome, Trial, VerdictKind
from autotune.tuner.order import Order
from autotune.tuner.unraced import no_verdict
from records import BF16, failed, ok
from simulated import GPU, SimulatedBench, find

_REMARK = "7.8 s for the first step on an image size, 0.18 s from the second on"


class StallingBench(SimulatedBench):
    """All in channels_last stalls; the rest is measured as ever."""

    def measure(self, order: Order) -> Trial:
        trial = super().measure(order)
        if not order.config.channels_last or trial.gave_up:
            return trial
        stalled = {"gave_up": True, "detail": _REMARK, "step_ms": (), "steps": ()}
        self.trials[-1] = trial.model_copy(update=stalled)
        return self.trials[-1]


def _step_s(config: TrainingConfig, gain: float) -> float:
    return 0.2 / (gain if config.channels_last else 1.0)


def test_what_stalls_is_worth_a_try_where_it_is_faster_from_the_second_step_on() -> None:
    notes = find(StallingBench(GPU, lambda config: _step_s(config, 1.3), budget_s=600.0)).notes
    (told,) = [note for note in notes if "given up for stalls" in note]
    assert f"({_REMARK}, then 1.30x as fast as your baseline)" in told
    slower = find(StallingBench(GPU, lambda config: _step_s(config, 0.9), budget_s=600.0)).notes
    assert not any("worth a try" in note for note in slower), slower


def test_what_stalls_is_not_said_to_be_far_behind() -> None:
    baseline = TrainingConfig.baseline(GPU)

    def step_s(config: TrainingConfig) -> float:
        return _step_s(config, 1.3) * (1.0 if config == baseline or config.channels_last else 4.0)

    verdict = find(StallingBench(GPU, step_s, budget_s=600.0)).recommendation.verdict
    assert verdict.kind is VerdictKind.NOT_MEASURED
    assert "all that trains was given up" in verdict.sentence
    assert "35% or more behind or for stalls on new image sizes" in verdict.sentence


def test_a_stall_is_the_layouts_and_keeps_no_precision_from_being_tried_without_it() -> None:
    """As frcnn_mobilenet on an H200, where bf16 meets channels_last first: all else in it waits."""

    def step_s(config: TrainingConfig) -> float:
        half = config.precision in (Precision.BF16, Precision.FP16)
        return 0.2 / (1.4 if half else 1.0)

    bench = StallingBench(GPU, step_s, start_s=lambda config: 2.0 + 20.0 * config.channels_last, budget_s=170.0)
    found = find(bench)
    layouts = [(trial.config.precision, trial.config.channels_last) for trial in bench.trials]
    stalled = [place for place, (_, channels_last) in enumerate(layouts) if channels_last]
    before = layouts[: stalled[1]] if len(stalled) > 1 else layouts
    assert {(Precision.BF16, False), (Precision.FP16, False)} <= set(before)
    assert found.recommendation.verdict.kind is VerdictKind.FASTER


class TryingAllBench(SimulatedBench):
    """With cudnn.benchmark no first step ends in time, as frcnn_resnet50's on an H200, which takes 34 s."""

    def measure(self, order: Order) -> Trial:
        if not order.config.cudnn_benchmark:
            return super().measure(order)
        trial = Trial(
            number=len(self.trials) + 1,
            stage=order.stage,
            config=order.config,
            block=order.block,
            outcome=Outcome.TIMEOUT,
            detail=f"no step ended within {order.step_timeout_s:.1f} s",
            duration_s=order.step_timeout_s,
        )
        self.remaining_s -= trial.duration_s
        self.trials.append(trial)
        return trial


def test_a_first_step_takes_no_more_of_the_search_than_a_tenth_of_the_budget_and_only_once() -> None:
    bench = TryingAllBench(GPU, lambda config: 0.3, start_s=lambda config: 1.0, budget_s=170.0)
    find(bench)
    (ended,) = [trial for trial in bench.trials if trial.outcome is Outcome.TIMEOUT]
    assert ended.duration_s == pytest.approx(17.0)


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ([ok(BF16, 100.0)], "left no time to measure another setting; REMEDY"),
        (
            [ok(BF16, 100.0), failed(BF16, Outcome.CRASHED, "killed")],
            "of what was measured nothing may race, and the budget left no time for more; REMEDY",
        ),
    ],
)
def test_a_setting_that_was_measured_in_vain_is_not_said_to_have_had_no_time(trials: list[Trial], words: str) -> None:
    sentence = no_verdict(
        trials, leader_unraced=False, some_unraced=False, some_untried=True, behind=0.35, remedy="REMEDY"
    )
    assert words in sentence
