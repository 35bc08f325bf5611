"""Configs that stall on every image size that is new to a process: given up, and what a run says of them."""

from __future__ import annotations

from autotune.config import TrainingConfig
from autotune.records import Trial, VerdictKind
from autotune.tuner.order import Order
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
