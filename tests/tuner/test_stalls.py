"""Configs that stall on every image size that is new to a process: given up, and what a run says of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.records import Outcome, Stage, Trial, VerdictKind
from autotune.tuner.cell_search import CellSearch
from autotune.tuner.order import Order
from autotune.tuner.search import Findings
from autotune.tuner.space import Space
from autotune.tuner.stalls import Stalls
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
    """With cudnn.benchmark a first step takes 34 s, as frcnn_resnet50's on an H200."""

    def measure(self, order: Order) -> Trial:
        trial = super().measure(order)
        if not order.config.cudnn_benchmark or order.step_timeout_s > 34.0:
            return trial
        self.remaining_s += trial.duration_s - order.step_timeout_s
        ended = {
            "outcome": Outcome.TIMEOUT,
            "detail": f"no step ended within {order.step_timeout_s:.1f} s",
            "duration_s": order.step_timeout_s,
            **dict.fromkeys(("step_ms", "steps", "warmup_ms"), ()),
        }
        self.trials[-1] = trial.model_copy(update=ended)
        return self.trials[-1]


def _with_varying_sizes(bench: SimulatedBench, baseline: TrainingConfig | None = None) -> Findings:
    space = Space(bench.circumstances, baseline)
    space.take(None, sizes_vary=True)
    return CellSearch().run(bench, space)


def _step_of_half_s(config: TrainingConfig) -> float:
    return 0.3 / (1.3 if config.precision in (Precision.BF16, Precision.FP16) else 1.0)


@pytest.mark.parametrize("budget_s", [170.0, 300.0, 600.0])
def test_steps_that_do_not_end_take_no_time_from_the_race_nor_from_what_does_without_their_setting(
    budget_s: float,
) -> None:
    def start_s(config: TrainingConfig) -> float:
        return 65.0 if config.cudnn_benchmark else 1.0

    class NeverEndingBench(TryingAllBench):
        def measure(self, order: Order) -> Trial:
            return super().measure(replace(order, step_timeout_s=min(34.0, order.step_timeout_s)))

    bench = NeverEndingBench(GPU, _step_of_half_s, budget_s=budget_s, start_s=start_s)
    found = _with_varying_sizes(bench)
    benchmarked = [trial for trial in bench.trials if trial.config.cudnn_benchmark]
    assert 1 <= len(benchmarked) <= 3, "two of half precision and one of full tell of the others"
    assert all(trial.outcome is Outcome.TIMEOUT for trial in benchmarked)
    place = bench.trials.index(benchmarked[0])
    timed = [trial.config for trial in bench.trials if trial.stage is not Stage.NUMERICS]
    assert {*timed} - {*timed[:place]} == {trial.config for trial in benchmarked}
    without = SimulatedBench(GPU, _step_of_half_s, budget_s=budget_s, start_s=lambda config: 1.0)
    assert found.recommendation.verdict.kind is find(without).recommendation.verdict.kind is VerdictKind.FASTER
    assert bench.remaining_s >= 0.0
    told = [note for note in found.notes if "cudnn" in note]
    assert told, found.notes


def _step_of_small_batches_s(config: TrainingConfig) -> float:
    """cudnn.benchmark is worth 1.12x, a batch of four 1.1x."""
    return 0.3 / (1.12 if config.cudnn_benchmark else 1.0) / (1.1 if config.batch_size == 4 else 1.0)


def test_what_comes_last_has_ladders_of_its_own() -> None:
    bench = SimulatedBench(GPU, _step_of_small_batches_s, budget_s=3600.0)
    config = _with_varying_sizes(bench).recommendation.config
    assert (config.cudnn_benchmark, config.batch_size) == (True, 4)


def test_a_baseline_with_cudnn_benchmark_does_not_come_last() -> None:
    baseline = TrainingConfig.baseline(GPU).model_copy(update={"cudnn_benchmark": True})
    bench = SimulatedBench(GPU, _step_of_small_batches_s, budget_s=200.0)
    config = _with_varying_sizes(bench, baseline).recommendation.config
    assert (config.cudnn_benchmark, config.batch_size) == (True, 4)


def test_a_start_that_is_slow_only_once_is_worth_its_time_where_images_have_one_size() -> None:
    """As ssd300_vgg16 with cudnn.benchmark on an H200: 21 s for the first step."""
    bench = TryingAllBench(
        GPU,
        lambda config: 0.3 / (1.5 if config.cudnn_benchmark else 1.0),
        budget_s=300.0,
        start_s=lambda config: 21.0 if config.cudnn_benchmark else 1.0,
    )
    assert find(bench).recommendation.config.cudnn_benchmark


def test_what_stalls_alone_is_not_held_against_its_precision_with_other_settings() -> None:
    """frcnn_mobilenet in fp16 on an H200 stalls in either layout."""
    baseline = TrainingConfig.baseline(GPU)
    stalls = Stalls(baseline)
    fp16 = baseline.model_copy(update={"precision": Precision.FP16})
    both = fp16.model_copy(update={"channels_last": True})
    stalled = {"gave_up": True, "detail": _REMARK}
    stalls.take(baseline, ok(baseline, 100.0))
    stalls.take(fp16, ok(fp16, 100.0).model_copy(update=stalled))
    stalls.take(both, ok(both, 100.0).model_copy(update=stalled))
    assert stalls.to_blame(fp16) == fp16
    assert stalls.to_blame(both) == baseline.model_copy(update={"channels_last": True})
    tf32 = both.model_copy(update={"precision": Precision.TF32})
    assert not stalls.bars(tf32), "fp16 stalls without it too"
    stalls.take(tf32, ok(tf32, 100.0).model_copy(update=stalled))
    bf16 = both.model_copy(update={"precision": Precision.BF16})
    assert not stalls.bars(bf16)
    stalls.take(bf16.model_copy(update={"cudnn_benchmark": True}), ok(bf16, 100.0).model_copy(update=stalled))
    assert not stalls.bars(bf16), "none of those is fast without it"
    stalls.take(tf32.model_copy(update={"channels_last": False}), ok(tf32, 100.0))
    assert stalls.bars(bf16)
    assert stalls.notes() == ["channels_last: left out in 1 more combination, since all that was tried with it stalled"]
    stalls.take(bf16, ok(bf16, 100.0))
    assert not stalls.bars(both)


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ([ok(BF16, 100.0)], "has no room for another setting and a race of it; REMEDY"),
        (
            [ok(BF16, 100.0), failed(BF16, Outcome.CRASHED, "killed")],
            "of what was measured nothing may race, and the budget left no time for more; REMEDY",
        ),
    ],
)
def test_a_setting_that_was_measured_in_vain_is_not_said_to_have_had_no_time(trials: list[Trial], words: str) -> None:
    sentence = no_verdict(
        trials,
        leader_unraced=False,
        some_unraced=False,
        some_untried=True,
        some_unsound=False,
        behind=0.35,
        remedy="REMEDY",
    )
    assert words in sentence
