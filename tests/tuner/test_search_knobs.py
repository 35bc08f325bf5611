"""The search with the knobs that are off unless asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.records import Outcome, Stage, Trial, VerdictKind
from autotune.tuner.order import Order
from simulated import CPU, GPU, SimulatedBench, find, interacting_s


def _knob_step_s(config: TrainingConfig) -> float:
    """Compiling is worth 1.2x, a fused optimizer 1.1x, together 1.32x; foreach is a loss."""
    seconds = interacting_s(config) / (1.2 if config.compile else 1.0)
    worth = {"fused": 1.1, "foreach": 0.9}.get(config.optimizer_implementation, 1.0)
    return seconds / worth


def test_extra_knobs_are_tried_on_the_leading_cells_alone_and_together_where_both_help() -> None:
    plain, asked = (SimulatedBench(CPU, _knob_step_s, budget_s=300.0) for _ in range(2))
    without = find(plain)
    found = find(asked, knobs=("compile", "optimizer"))
    assert not any(trial.config.compile or trial.stage is Stage.KNOBS for trial in plain.trials)
    assert not without.recommendation.config.compile
    config = found.recommendation.config
    assert (config.compile, config.optimizer_implementation) == (True, "fused")
    assert (config.precision, config.channels_last) == (Precision.BF16, True)
    assert found.recommendation.verdict.ratio == pytest.approx(2.6 * 1.2 * 1.1, rel=0.02)
    tried = {trial.config.settings_label() for trial in asked.trials if trial.stage is Stage.KNOBS}
    assert tried == {
        f"bf16 + channels_last + {knobs}"
        for knobs in ("compile", "fused optimizer", "foreach optimizer", "fused optimizer + compile")
    }


class LuckyBench(SimulatedBench):
    """The first trial of the largest batch is 3% faster than it is."""

    def measure(self, order: Order) -> Trial:
        trial = super().measure(order)
        if order.config.batch_size < 16 or order.config.optimizer_implementation != "default" or trial.block:
            return trial
        self.trials[-1] = trial.model_copy(update={"step_ms": tuple(0.97 * ms for ms in trial.step_ms)})
        return self.trials[-1]


@pytest.mark.parametrize("fused", [1.05, 1.2])
def test_a_knob_that_helped_is_tried_on_what_leads_only_in_heats(fused: float) -> None:
    """As frcnn_mobilenet in bf16 on a CPU, whose batches are as fast within percents: the fused optimizer was tried on
    the one that looked fastest, and never on the one that was."""

    def step_s(config: TrainingConfig) -> float:
        worth = fused if config.optimizer_implementation == "fused" else 1.0
        batch = {8: 0.985, 4: 0.99}.get(config.batch_size, 1.0)
        layout = 1.0 if config.channels_last else 1.01
        return 0.3 * batch * layout / worth / (1.2 if config.precision is Precision.BF16 else 1.0)

    where = replace(CPU, effective_batch=16)
    bench = LuckyBench(where, step_s, budget_s=3000.0)
    found = find(bench, knobs=("optimizer",))
    tried = [trial.config.batch_size for trial in bench.trials if trial.stage is Stage.KNOBS and not trial.block]
    assert tried[0] == 16, "else the test tests nothing"
    config = found.recommendation.config
    assert (config.batch_size, config.optimizer_implementation) == (8, "fused")


def test_a_knob_whose_batch_does_not_fit_is_tried_at_the_next_smaller_one() -> None:
    def fits(config: TrainingConfig) -> Outcome:
        return Outcome.OUT_OF_MEMORY if config.compile and config.batch_size > 2 else Outcome.OK

    bench = SimulatedBench(CPU, _knob_step_s, budget_s=300.0, fails=fits)
    found = find(bench, knobs=("compile",))
    assert [t.config.batch_size for t in bench.trials if t.stage is Stage.KNOBS and t.config.compile][:2] == [4, 2]
    assert found.recommendation.config.batch_size == (2 if found.recommendation.config.compile else 4)


@pytest.mark.parametrize("outcome", [Outcome.UNSUPPORTED, Outcome.CRASHED, Outcome.TIMEOUT])
def test_a_compilation_that_fails_is_a_trial_and_the_run_goes_on(outcome: Outcome) -> None:
    bench = SimulatedBench(CPU, _knob_step_s, fails=lambda config: outcome if config.compile else Outcome.OK)
    found = find(bench, knobs=("compile",))
    assert [trial.outcome for trial in bench.trials if trial.config.compile] == [outcome]
    assert found.recommendation.verdict.kind is VerdictKind.FASTER


def test_a_compiled_config_whose_losses_part_from_fp32s_is_not_recommended() -> None:
    bench = SimulatedBench(CPU, _knob_step_s, losses=lambda config: 3.0 if config.compile else 2.0, budget_s=300.0)
    found = find(bench, knobs=("compile",))
    assert not found.recommendation.config.compile
    assert any("compile" in note and "50% from fp32's" in note for note in found.notes)


def test_what_takes_too_long_to_compile_for_a_race_does_not_take_the_verdict_with_it() -> None:
    bench = SimulatedBench(GPU, _knob_step_s, budget_s=300.0, start_s=lambda config: 90.0 if config.compile else 0.0)
    found = find(bench, knobs=("compile",))
    assert any(trial.config.compile and trial.outcome is Outcome.OK for trial in bench.trials)
    assert not found.recommendation.config.compile
    assert found.recommendation.verdict.kind is VerdictKind.FASTER
    assert any("compiling takes too long for a race" in note and "--budget" in note for note in found.notes)


def test_what_compiles_once_and_fails_the_second_time_is_not_raced() -> None:
    seen: Counter[TrainingConfig] = Counter()

    def fails(config: TrainingConfig) -> Outcome:
        seen[config] += 1
        return Outcome.CRASHED if config.compile and seen[config] > 1 else Outcome.OK

    bench = SimulatedBench(CPU, _knob_step_s, budget_s=300.0, fails=fails)
    found = find(bench, knobs=("compile",))
    assert [t.outcome for t in bench.trials if t.config.compile] == [Outcome.OK, Outcome.CRASHED]
    assert not found.recommendation.config.compile
    assert found.recommendation.verdict.kind is VerdictKind.FASTER


def test_a_knob_is_tried_on_a_rival_that_it_could_help_most_and_compiling_on_what_is_close_alone() -> None:
    """As retinanet_resnet50 on a CPU: the fused optimizer brought nothing in channels_last, which led without it."""

    def step_s(config: TrainingConfig) -> float:
        layout = 1.0 if config.channels_last else 1.07
        fused = 1.12 if config.optimizer_implementation == "fused" and not config.channels_last else 1.0
        return 0.3 * layout / fused / (1.3 if config.precision is Precision.BF16 else 1.0)

    bench = SimulatedBench(CPU, step_s, budget_s=600.0)
    found = find(bench, knobs=("optimizer", "compile"))
    config = found.recommendation.config
    assert (config.channels_last, config.optimizer_implementation) == (False, "fused")
    compiled = {trial.config for trial in bench.trials if trial.config.compile and not trial.config.channels_last}
    assert {each.optimizer_implementation for each in compiled} <= {"fused"}, "what was close by then"
