"""Settings whose processes start slowly, since kernels are compiled for them: raced where there is time for it."""

from __future__ import annotations

import re

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.records import Outcome, RaceEnd, Stage, Trial, VerdictKind
from autotune.tuner.order import Order
from simulated import CPU, GPU, SimulatedBench, find

_COMPILING_S = 27.0


def _start_s(config: TrainingConfig) -> float:
    """As on an H200: ssdlite320_mobilenet in channels_last."""
    return 2.0 + (_COMPILING_S if config.channels_last else 0.0)


def _step_s(config: TrainingConfig, gain: float) -> float:
    """Half precision brings 1.4x, channels_last the gain; small batches lose."""
    half = config.precision in (Precision.BF16, Precision.FP16)
    return (
        0.08
        * (1.0 + 0.2 * (config.accumulation_steps - 1))
        / (1.4 if half else 1.0)
        / (gain if config.channels_last else 1.0)
    )


def _bench(budget_s: float, gain: float) -> SimulatedBench:
    return SimulatedBench(GPU, lambda config: _step_s(config, gain), start_s=_start_s, budget_s=budget_s, noise=0.005)


def test_what_cannot_be_raced_for_its_start_gives_way_to_what_can() -> None:
    bench = _bench(80.0, gain=1.06)
    found = find(bench)
    assert found.recommendation.verdict.kind is VerdictKind.FASTER, found.recommendation.verdict.sentence
    assert found.recommendation.config.precision in (Precision.BF16, Precision.FP16)
    assert not found.recommendation.config.channels_last
    tried = [trial.config for trial in bench.trials if trial.config.channels_last]
    assert len(tried) == 1, "the first cannot be known to start slowly; no other is affordable"
    assert any("starting takes too long for a race" in note and "--budget" in note for note in found.notes)


def test_where_the_budget_has_room_a_slow_start_is_raced() -> None:
    found = find(_bench(1500.0, gain=1.2))
    assert found.recommendation.verdict.kind is VerdictKind.FASTER
    assert found.recommendation.config.channels_last


def test_what_starts_slowly_and_is_no_faster_is_not_worth_a_word() -> None:
    """As on an H200: ssdlite320_mobilenet, which waits for Python whatever it computes in."""

    def start_s(config: TrainingConfig) -> float:
        return 22.0 if config.channels_last else 10.0 if config.precision is Precision.FP16 else 2.0

    def step_s(config: TrainingConfig) -> float:
        return 0.08 * (1.1 if config.precision in (Precision.BF16, Precision.FP16) else 1.0)

    found = find(SimulatedBench(GPU, step_s, start_s=start_s, budget_s=60.0))
    assert "starts too slowly" not in found.recommendation.verdict.sentence
    assert not any("as fast as your baseline" in note for note in found.notes), found.notes


def test_where_only_what_starts_slowly_is_faster_the_sentence_says_so() -> None:
    def step_s(config: TrainingConfig) -> float:
        return 0.08 / 1.5 if config.channels_last else 0.08 if config == baseline else 0.2

    baseline = TrainingConfig.baseline(GPU)
    found = find(SimulatedBench(GPU, step_s, start_s=_start_s, budget_s=80.0))
    assert found.recommendation.verdict.kind is VerdictKind.NOT_MEASURED
    assert "starts too slowly for a race" in found.recommendation.verdict.sentence
    assert found.recommendation.config == baseline


@pytest.mark.parametrize("budget_s", [33.0, 34.0, 36.0])
def test_what_starts_as_the_baseline_does_is_not_said_to_start_too_slowly(budget_s: float) -> None:
    """A race of what is faster takes more steps than one of the baseline alone, and may go one block over."""

    def step_s(config: TrainingConfig) -> float:
        return _step_s(config, gain=1.06) / (1.5 if config.precision is Precision.BF16 else 1.0)

    found = find(SimulatedBench(GPU, step_s, start_s=lambda config: 2.0, budget_s=budget_s))
    assert found.recommendation.verdict.kind is VerdictKind.FASTER, found.recommendation.verdict.sentence
    assert not any("starting takes too long" in note for note in found.notes)


def test_where_children_are_kept_for_the_race_their_starts_do_not_matter() -> None:
    def step_s(config: TrainingConfig) -> float:
        return 1.0 / (2.0 if config.precision is Precision.BF16 else 1.0) / (1.06 if config.channels_last else 1.0)

    found = find(SimulatedBench(CPU, step_s, start_s=lambda config: 2.0 + 18.0 * config.channels_last, budget_s=38.0))
    assert not any("starting takes too long" in note for note in found.notes)
    assert "starts too slowly" not in found.recommendation.verdict.sentence


@pytest.mark.parametrize("budget_s", [240.0, 280.0, 340.0])
def test_what_starts_slowly_costs_the_race_of_the_others_no_block(budget_s: float) -> None:
    def step_s(config: TrainingConfig) -> float:
        return _step_s(config, gain=0.96)

    bench = SimulatedBench(GPU, step_s, start_s=_start_s, budget_s=budget_s, noise=0.03)
    found = find(bench)
    assert not found.recommendation.verdict.candidate.channels_last
    assert found.recommendation.verdict.race_end is RaceEnd.CLEAR, "what was left did for as many"


class SlowlyChecked(SimulatedBench):
    """As where the GradScaler leaves out many updates: the numerics check takes longer than any trial tells."""

    def measure(self, order: Order) -> Trial:
        trial = super().measure(order)
        if order.stage is Stage.NUMERICS:
            self.remaining_s -= 30.0
        return trial


def test_what_a_check_leaves_no_time_to_race_gives_way_to_what_can_be_raced() -> None:
    bench = SlowlyChecked(GPU, lambda config: _step_s(config, gain=1.2), start_s=_start_s, budget_s=270.0)
    found = find(bench)
    assert found.recommendation.verdict.kind is VerdictKind.FASTER, found.recommendation.verdict.sentence
    assert not found.recommendation.config.channels_last
    assert any("starting takes too long for a race" in note for note in found.notes)


def _fails(config: TrainingConfig) -> Outcome:
    return Outcome.OK if config == TrainingConfig.baseline(GPU) else Outcome.CRASHED


@pytest.mark.parametrize(
    "bench",
    [
        SlowlyChecked(GPU, lambda config: _step_s(config, gain=1.2), start_s=_start_s, budget_s=186.0),
        SimulatedBench(GPU, lambda config: 0.2, start_s=lambda config: 2.0, budget_s=80.0, fails=_fails),
    ],
    ids=["no time to race", "no time for one more trial"],
)
def test_a_budget_that_would_do_is_larger_than_the_one_that_did_not(bench: SimulatedBench) -> None:
    budget_s = bench.remaining_s
    sentence = find(bench).recommendation.verdict.sentence
    advised = re.search(r"--budget (\d+)s", sentence)
    assert advised, sentence
    assert int(advised[1]) > budget_s


def test_near_the_limit_of_memory_a_slow_start_is_not_paid_for_a_probe() -> None:
    def step_s(config: TrainingConfig) -> float:
        return _step_s(config, gain=1.06)

    bench = SimulatedBench(GPU, step_s, start_s=_start_s, budget_s=120.0, memory_limit_bytes=20_000)
    found = find(bench)
    probed = [trial.config for trial in bench.trials if trial.stage is Stage.MEMORY]
    assert {config.precision for config in probed} >= {Precision.DEFAULT, Precision.BF16}
    assert not any(config.channels_last for config in probed)
    slow = [trial for trial in bench.trials if trial.config.channels_last]
    assert [trial.stage for trial in slow] == [Stage.SETTINGS], "the first cannot be known to start slowly"
    assert found.recommendation.verdict.kind is VerdictKind.FASTER, found.recommendation.verdict.sentence
