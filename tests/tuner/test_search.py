from __future__ import annotations

import re
from collections import Counter

import pytest

from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.errors import AutotuneError, DeviceError
from autotune.records import Outcome, RaceEnd, Stage, Trial, VerdictKind
from autotune.tuner.cell_search import CellSearch
from autotune.tuner.objective import Objective
from autotune.tuner.space import Space
from simulated import CPU, GPU, SimulatedBench, find, interacting_s


@pytest.mark.parametrize("where", [CPU, GPU])
def test_the_best_settings_win_though_they_interact(where: Circumstances) -> None:
    bench = SimulatedBench(where, interacting_s, noise=0.005, budget_s=300.0)
    found = find(bench)
    assert found.recommendation.config.precision is Precision.BF16
    assert found.recommendation.config.channels_last
    assert found.recommendation.config.batch_size == where.effective_batch
    result = found.recommendation.verdict
    assert result.kind is VerdictKind.FASTER
    assert result.ratio == pytest.approx(2.6, rel=0.02)


def test_the_baseline_is_measured_first_and_is_pytorchs_defaults() -> None:
    bench = SimulatedBench(GPU, interacting_s)
    found = find(bench)
    first = bench.trials[0]
    assert first.stage is Stage.BASELINE
    assert first.config == found.baseline
    assert first.config == TrainingConfig(
        batch_size=16, precision=Precision.DEFAULT, channels_last=False, cudnn_benchmark=False
    )


def test_the_baseline_goes_to_the_largest_divisor_that_fits_and_others_may_go_beyond_it() -> None:
    def fits(config: TrainingConfig) -> Outcome:
        limit = 8 if config.precision in (Precision.BF16, Precision.FP16) else 4
        return Outcome.OK if config.batch_size <= limit else Outcome.OUT_OF_MEMORY

    bench = SimulatedBench(GPU, interacting_s, fails=fits, budget_s=600.0)
    found = find(bench)
    assert found.baseline.batch_size == 4
    assert found.baseline.accumulation_steps == 4
    assert found.recommendation.config.batch_size == 8
    assert all(trial.config.images_per_step == 16 for trial in bench.trials)


def test_nothing_is_recommended_that_failed() -> None:
    def fails(config: TrainingConfig) -> Outcome:
        return Outcome.NON_FINITE if config.precision is Precision.BF16 else Outcome.OK

    found = find(SimulatedBench(CPU, interacting_s, fails=fails))
    assert found.recommendation.config.precision is Precision.FP32
    assert found.recommendation.verdict.kind is not VerdictKind.FASTER


def test_an_a_a_run_says_no_real_difference() -> None:
    bench = SimulatedBench(CPU, interacting_s, noise=0.02)
    found = find(bench, settings_fixed=True)
    assert {trial.config for trial in bench.trials} == {found.baseline}
    assert found.recommendation.verdict.kind is VerdictKind.NO_REAL_DIFFERENCE
    assert found.recommendation.verdict.ratio == pytest.approx(1.0, abs=0.05)
    assert found.recommendation.config == found.baseline


def test_equal_speeds_are_no_real_difference_in_nearly_all_runs() -> None:
    kinds = [
        find(SimulatedBench(CPU, lambda config: 0.7, noise=0.02, seed=seed)).recommendation.verdict.kind
        for seed in range(200)
    ]
    # 2.5% are expected by the interval alone; more than 6% of 200 has a chance of one in a thousand.
    assert kinds.count(VerdictKind.FASTER) <= 12


@pytest.mark.parametrize("where", [CPU, GPU])
@pytest.mark.parametrize("step_s", [0.05, 1.0, 4.0])
def test_the_budget_is_kept_and_still_buys_a_verdict(where: Circumstances, step_s: float) -> None:
    budget_s = 90.0 if where.on_cpu else 300.0
    bench = SimulatedBench(where, lambda config: step_s * interacting_s(config), noise=0.01, budget_s=budget_s)
    found = find(bench)
    assert bench.remaining_s >= -2.0 * step_s, "over by a block at the most"
    assert found.recommendation.verdict.ratio is not None


def test_a_budget_too_small_for_a_race_says_so() -> None:
    found = find(SimulatedBench(CPU, lambda config: 30.0, budget_s=60.0))
    assert found.recommendation.verdict.kind is VerdictKind.NOT_MEASURED
    assert "--budget" in found.recommendation.verdict.sentence
    assert found.recommendation.config == found.baseline
    assert found.not_tried


@pytest.mark.parametrize("budget_s", [12.0, 20.0, 28.0])
def test_no_time_for_another_setting_is_no_verdict_and_not_a_tie(budget_s: float) -> None:
    found = find(SimulatedBench(CPU, lambda config: 2.0, budget_s=budget_s))
    result = found.recommendation.verdict
    assert result.kind is VerdictKind.NOT_MEASURED or result.candidate != found.baseline
    if result.kind is VerdictKind.NOT_MEASURED:
        # What it says would do does.
        enough_s = float(result.sentence.partition("--budget ")[2].partition("s")[0])
        again = find(SimulatedBench(CPU, lambda config: 2.0, budget_s=enough_s))
        assert again.recommendation.verdict.ratio is not None


def test_settings_that_bring_nothing_are_not_recommended_with_one_that_does() -> None:
    def step_s(config: TrainingConfig) -> float:
        fast = {Precision.BF16: 1.500, Precision.FP16: 1.504}.get(config.precision or Precision.DEFAULT, 1.0)
        return 0.2 / (fast * (1.001 if config.cudnn_benchmark else 1.0))

    bench = SimulatedBench(GPU, step_s, budget_s=600.0, memory_bytes=lambda config: 10**9)
    assert find(bench).recommendation.config == TrainingConfig(
        batch_size=16, precision=Precision.BF16, channels_last=False, cudnn_benchmark=False
    )


def test_of_batches_that_tie_in_all_else_the_one_with_less_accumulation_is_preferred() -> None:
    objective = Objective.THROUGHPUT
    larger, smaller = (
        Trial(number=1, stage=Stage.SETTINGS, config=_at(size), outcome=Outcome.OK, peak_memory_bytes=10**9)
        for size in (16, 8)
    )
    assert objective.preference(larger) < objective.preference(smaller)
    lighter = smaller.model_copy(update={"peak_memory_bytes": 8 * 10**8})
    assert objective.preference(lighter) < objective.preference(larger), "memory comes first"


def _at(batch_size: int) -> TrainingConfig:
    return TrainingConfig.baseline(GPU).at_batch_size(batch_size, 16)


def test_a_slow_first_start_does_not_shrink_the_race() -> None:
    bench = SimulatedBench(GPU, lambda config: 0.2 * interacting_s(config), budget_s=300.0, first_start_s=25.0)
    found = find(bench)
    assert not found.not_tried
    assert found.recommendation.verdict.race_end is RaceEnd.CLEAR
    assert Stage.HEATS in {trial.stage for trial in bench.trials}


@pytest.mark.parametrize("slowdown", [1.0, 1.3])
def test_the_race_is_planned_with_both_sides_times(slowdown: float) -> None:
    """On a GPU each side is fresh; the candidate, slower than the baseline, must not overdraw the budget."""
    bench = SimulatedBench(
        GPU,
        lambda config: 1.0 if config.caution() == (1, 0, 0, 0, 0) and config.batch_size == 16 else slowdown,
        budget_s=200.0,
    )
    find(bench)
    assert bench.remaining_s >= -3.0 * slowdown


def test_fast_models_race_in_fresh_processes_on_a_cpu_too() -> None:
    bench = SimulatedBench(CPU, lambda config: 0.05 * interacting_s(config), budget_s=90.0)
    find(bench)
    race = [trial for trial in bench.trials if trial.stage is Stage.RACE]
    assert race
    assert all(trial.worst_case_ms is not None for trial in race)


def test_a_baseline_that_crashes_ends_the_run_with_its_reason() -> None:
    with pytest.raises(AutotuneError, match="as the test wants it"):
        find(SimulatedBench(CPU, interacting_s, fails=lambda config: Outcome.CRASHED))


def test_a_model_that_never_fits_ends_the_run() -> None:
    with pytest.raises(DeviceError, match="not even one image"):
        find(SimulatedBench(CPU, interacting_s, fails=lambda config: Outcome.OUT_OF_MEMORY))


def test_a_users_baseline_is_the_reference() -> None:
    own = TrainingConfig(batch_size=2, accumulation_steps=2, precision=Precision.BF16, channels_last=False)
    found = find(SimulatedBench(CPU, interacting_s, noise=0.002), baseline=own)
    assert found.baseline == own
    result = found.recommendation.verdict
    assert result.ratio == pytest.approx(1.3, rel=0.15)


@pytest.mark.parametrize("worst", [False, True])
def test_only_the_baseline_and_the_best_of_the_others_stay_alive_for_the_race(worst: bool) -> None:
    def step_s(config: TrainingConfig) -> float:
        return (
            0.5 if worst and config.caution() == (0, 0, 0, 0, 0) and config.batch_size == 4 else interacting_s(config)
        )

    bench = SimulatedBench(CPU, lambda config: 5.0 * step_s(config), noise=0.005, budget_s=120.0 if worst else 190.0)
    found = find(bench)
    candidate = found.recommendation.verdict.candidate
    assert bench.alive == {found.baseline, candidate}
    race = [trial for trial in bench.trials if trial.stage is Stage.RACE]
    assert {trial.config for trial in race} == {found.baseline, candidate}
    assert all(trial.worst_case_ms is None for trial in race), "no side warmed up again"


def test_cells_are_compared_where_each_is_at_its_best() -> None:
    """At batch 4, the largest that fp32 trains with, bf16 is the slower; at its own largest it is twice as fast."""

    def step_s(config: TrainingConfig) -> float:
        if config.precision is Precision.BF16:
            return {16: 0.1, 8: 0.15, 4: 0.4, 2: 0.8, 1: 1.6}[config.batch_size]
        return 0.2 * config.accumulation_steps / 4 + 0.1 if config.batch_size <= 4 else 0.3

    def fails(config: TrainingConfig) -> Outcome:
        large = config.batch_size > 4 and config.precision is not Precision.BF16
        return Outcome.OUT_OF_MEMORY if large else Outcome.OK

    found = find(SimulatedBench(GPU, step_s, fails=fails, budget_s=1200.0))
    assert found.recommendation.config.precision is Precision.BF16
    assert found.recommendation.config.batch_size == 16


def test_for_the_sake_of_memory_a_little_speed_is_given_up() -> None:
    def step_s(config: TrainingConfig) -> float:
        return 0.2 * {16: 1.0, 8: 1.012, 4: 1.1, 2: 1.3, 1: 1.9}[config.batch_size]

    def smallest(objective: Objective) -> int:
        bench = SimulatedBench(GPU, step_s, budget_s=1200.0)
        found = CellSearch(objective).run(bench, Space(bench.circumstances))
        return found.recommendation.config.batch_size

    assert smallest(Objective.MEMORY) == 8
    assert smallest(Objective.THROUGHPUT) == 16


@pytest.mark.parametrize("seed", [4, 11])
def test_a_budget_that_is_said_to_settle_a_verdict_leaves_the_race_as_many_blocks(seed: int) -> None:
    def bench(budget_s: float) -> SimulatedBench:
        # A tenth faster in bf16, which steps as noisy as these do not show within few blocks.
        return SimulatedBench(
            CPU,
            lambda config: 3.0 / (1.1 if config.precision is Precision.BF16 else 1.0),
            noise=0.06,
            budget_s=budget_s,
            seed=seed,
        )

    sentence = find(bench(150.0)).recommendation.verdict.sentence
    assert sentence.startswith("Not sure: ")
    told = re.search(r"--budget (\d+)s would do, for (\d+) blocks", sentence)
    assert told, sentence
    again = find(bench(float(told[1]))).recommendation.verdict
    assert len(again.log_ratios) >= int(told[2]) or again.kind is VerdictKind.FASTER


def test_a_race_that_no_budget_settles_says_so() -> None:
    bench = SimulatedBench(CPU, lambda config: 0.5 + 0.01 * config.channels_last, noise=0.5, budget_s=2000.0)
    sentence = find(bench).recommendation.verdict.sentence
    assert "of 12 at most: only a quieter machine helps" in sentence


def test_the_race_has_several_candidates_and_gives_up_those_that_fall_behind() -> None:
    def step_s(config: TrainingConfig) -> float:
        fast = {Precision.BF16: 1.50, Precision.FP16: 1.47}.get(config.precision or Precision.DEFAULT, 1.0)
        simple = not config.channels_last and not config.cudnn_benchmark
        return 0.2 * config.accumulation_steps**0.5 / fast * (1.0 if simple else 1.1)

    bench = SimulatedBench(GPU, step_s, budget_s=2000.0, noise=0.004)
    found = find(bench)
    heats = [trial for trial in bench.trials if trial.stage is Stage.HEATS]
    counts = Counter(trial.config for trial in heats)
    assert found.recommendation.config.precision is Precision.BF16
    fp16 = [count for config, count in counts.items() if config.precision is Precision.FP16]
    assert fp16
    assert found.baseline not in counts
    final = [trial for trial in bench.trials if trial.stage is Stage.RACE]
    assert {trial.config for trial in final} == {found.baseline, found.recommendation.config}
    for trials in (heats, final):
        numbers = [(trial.config, trial.block) for trial in trials]
        assert len({block for _, block in numbers}) == len(numbers), "a journal finds each by its own number"


def test_a_precision_whose_losses_leave_those_of_fp32_is_reported_and_not_recommended() -> None:
    def losses(config: TrainingConfig) -> float:
        return {Precision.BF16: 2.3, Precision.FP16: 2.1}.get(config.precision or Precision.DEFAULT, 2.0)

    bench = SimulatedBench(GPU, lambda config: 0.2 * interacting_s(config), budget_s=1200.0, losses=losses)
    found = find(bench)
    assert found.recommendation.config.precision is not Precision.BF16
    assert any("bf16: its losses lie 15% from fp32's" in note for note in found.notes)
    raced = {trial.config.precision for trial in bench.trials if trial.stage is Stage.RACE}
    assert Precision.BF16 not in raced
    checks = [trial for trial in bench.trials if trial.stage is Stage.NUMERICS]
    assert checks[0].config.precision is Precision.FP32


def test_numerics_are_checked_once_per_precision_and_only_of_what_would_race() -> None:
    bench = SimulatedBench(GPU, lambda config: 0.2 * interacting_s(config), budget_s=1200.0)
    assert find(bench).notes == ()
    checked = [trial.config.precision for trial in bench.trials if trial.stage is Stage.NUMERICS]
    assert checked == [Precision.FP32, Precision.BF16]


@pytest.mark.parametrize("budget_s", [90.0, 120.0])
def test_a_short_run_leaves_time_to_check_the_precision_that_leads(budget_s: float) -> None:
    def step_s(config: TrainingConfig) -> float:
        return 0.4 if config.precision is Precision.BF16 else 0.8

    bench = SimulatedBench(GPU, step_s, budget_s=budget_s, start_s=lambda config: 2.0)
    found = find(bench)
    assert found.not_tried, "the budget is too short for all"
    assert found.recommendation.config.precision is Precision.BF16
    assert found.recommendation.verdict.kind is VerdictKind.FASTER
    assert {t.config.precision for t in bench.trials if t.stage is Stage.NUMERICS} == {Precision.FP32, Precision.BF16}


def test_what_there_was_no_time_to_check_is_not_raced_beside_what_was_checked() -> None:
    def step_s(config: TrainingConfig) -> float:
        half = {Precision.BF16: 0.4, Precision.FP16: 0.401}
        return half.get(config.precision or Precision.DEFAULT, 0.8) * (1.1 if config.channels_last else 1.0)

    left_out = 0
    for budget_s in range(80, 400, 20):
        bench = SimulatedBench(GPU, step_s, budget_s=float(budget_s), start_s=lambda config: 2.0)
        found = find(bench)
        checked = {trial.config.precision for trial in bench.trials if trial.stage is Stage.NUMERICS}
        raced = {trial.config.precision for trial in bench.trials if trial.stage.is_race} - {Precision.DEFAULT}
        assert raced <= checked, budget_s
        left_out += any("left out of the race" in note for note in found.notes)
    assert left_out, "some budgets were too short for both"


def test_where_all_else_is_given_up_the_sentence_says_so() -> None:
    def step_s(config: TrainingConfig) -> float:
        return 1.0 if config == TrainingConfig.baseline(CPU) else 4.0

    found = find(SimulatedBench(CPU, step_s))
    assert "all that trains was given up, 35% or more behind" in found.recommendation.verdict.sentence
    assert found.recommendation.config == found.baseline


def test_where_time_is_short_ladders_come_before_combinations_of_which_nothing_is_expected() -> None:
    """bf16 is three times as fast, channels_last costs a fifth everywhere, and half the batch is a tenth faster."""

    def step_s(config: TrainingConfig) -> float:
        seconds = 4.0 / (3.0 if config.precision in (Precision.BF16, Precision.FP16) else 1.0)
        return seconds * (1.25 if config.channels_last else 1.0) * (0.9 if config.batch_size == 8 else 1.0)

    bench = SimulatedBench(GPU, step_s, budget_s=380.0)
    found = find(bench)
    assert found.not_tried, "the budget is too short for all"
    assert found.recommendation.config.precision in (Precision.BF16, Precision.FP16)
    assert not found.recommendation.config.channels_last
    assert found.recommendation.config.batch_size == 8
