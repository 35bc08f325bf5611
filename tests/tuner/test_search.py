from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.errors import AutotuneError, DeviceError
from autotune.records import Outcome, Stage, VerdictKind
from autotune.tuner.cell_search import CellSearch
from autotune.tuner.objective import Objective
from autotune.tuner.search import Findings
from autotune.tuner.space import Space
from simulated import SimulatedBench

CPU = Circumstances("cpu", 4, native_bf16=True)
GPU = Circumstances("cuda", 16, (9, 0), native_bf16=True)


def _step_s(config: TrainingConfig) -> float:
    """bf16 is worth 2x, channels_last 1.3x with it and a loss without, small batches lose a little."""
    seconds = 1.0
    if config.precision is Precision.BF16:
        seconds /= 2.0 * (1.3 if config.channels_last else 1.0)
    elif config.channels_last:
        seconds *= 1.1
    return seconds * (1.0 + 0.1 * (config.accumulation_steps - 1))


def _find(bench: SimulatedBench, **space: object) -> Findings:
    return CellSearch().run(bench, Space(bench.circumstances, **space))  # type: ignore[arg-type]


@pytest.mark.parametrize("where", [CPU, GPU])
def test_the_best_settings_win_though_they_interact(where: Circumstances) -> None:
    bench = SimulatedBench(where, _step_s, noise=0.005, budget_s=300.0)
    found = _find(bench)
    assert found.recommendation.config.precision is Precision.BF16
    assert found.recommendation.config.channels_last
    assert found.recommendation.config.batch_size == where.effective_batch
    result = found.recommendation.verdict
    assert result.kind is VerdictKind.FASTER
    assert result.ratio == pytest.approx(2.6, rel=0.02)


def test_the_baseline_is_measured_first_and_is_pytorchs_defaults() -> None:
    bench = SimulatedBench(GPU, _step_s)
    found = _find(bench)
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

    bench = SimulatedBench(GPU, _step_s, fails=fits, budget_s=600.0)
    found = _find(bench)
    assert found.baseline.batch_size == 4
    assert found.baseline.accumulation_steps == 4
    assert found.recommendation.config.batch_size == 8
    assert all(trial.config.images_per_step == 16 for trial in bench.trials)


def test_nothing_is_recommended_that_failed() -> None:
    def fails(config: TrainingConfig) -> Outcome:
        return Outcome.NON_FINITE if config.precision is Precision.BF16 else Outcome.OK

    found = _find(SimulatedBench(CPU, _step_s, fails=fails))
    assert found.recommendation.config.precision is Precision.FP32
    assert found.recommendation.verdict.kind is not VerdictKind.FASTER


def test_an_a_a_run_says_no_real_difference() -> None:
    bench = SimulatedBench(CPU, _step_s, noise=0.02)
    found = _find(bench, settings_fixed=True)
    assert {trial.config for trial in bench.trials} == {found.baseline}
    assert found.recommendation.verdict.kind is VerdictKind.NO_REAL_DIFFERENCE
    assert found.recommendation.verdict.ratio == pytest.approx(1.0, abs=0.05)
    assert found.recommendation.config == found.baseline


def test_equal_speeds_are_no_real_difference_in_nearly_all_runs() -> None:
    kinds = [
        _find(SimulatedBench(CPU, lambda config: 0.7, noise=0.02, seed=seed)).recommendation.verdict.kind
        for seed in range(200)
    ]
    # 2.5% are expected by the interval alone; more than 6% of 200 has a chance of one in a thousand.
    assert kinds.count(VerdictKind.FASTER) <= 12


@pytest.mark.parametrize("where", [CPU, GPU])
@pytest.mark.parametrize("step_s", [0.05, 1.0, 4.0])
def test_the_budget_is_kept_and_still_buys_a_verdict(where: Circumstances, step_s: float) -> None:
    budget_s = 90.0 if where.on_cpu else 300.0
    bench = SimulatedBench(where, lambda config: step_s * _step_s(config), noise=0.01, budget_s=budget_s)
    found = _find(bench)
    assert bench.remaining_s >= -2.0 * step_s, "over by a block at the most"
    assert found.recommendation.verdict.ratio is not None


def test_a_budget_too_small_for_a_race_says_so() -> None:
    found = _find(SimulatedBench(CPU, lambda config: 30.0, budget_s=60.0))
    assert found.recommendation.verdict.kind is VerdictKind.NOT_MEASURED
    assert "--budget" in found.recommendation.verdict.sentence
    assert found.recommendation.config == found.baseline
    assert found.not_tried


@pytest.mark.parametrize("budget_s", [12.0, 20.0, 28.0])
def test_no_time_for_another_setting_is_no_verdict_and_not_a_tie(budget_s: float) -> None:
    found = _find(SimulatedBench(CPU, lambda config: 2.0, budget_s=budget_s))
    result = found.recommendation.verdict
    assert result.kind is VerdictKind.NOT_MEASURED or result.candidate != found.baseline
    if result.kind is VerdictKind.NOT_MEASURED:
        # What it says would do does.
        enough_s = float(result.sentence.partition("--budget ")[2].partition("s")[0])
        again = _find(SimulatedBench(CPU, lambda config: 2.0, budget_s=enough_s))
        assert again.recommendation.verdict.ratio is not None


def test_settings_that_bring_nothing_are_not_recommended_with_one_that_does() -> None:
    def step_s(config: TrainingConfig) -> float:
        fast = {Precision.BF16: 1.500, Precision.FP16: 1.504}.get(config.precision or Precision.DEFAULT, 1.0)
        return 0.2 / (fast * (1.001 if config.cudnn_benchmark else 1.0))

    bench = SimulatedBench(GPU, step_s, budget_s=600.0, memory_bytes=lambda config: 10**9)
    assert _find(bench).recommendation.config == TrainingConfig(
        batch_size=16, precision=Precision.BF16, channels_last=False, cudnn_benchmark=False
    )


def test_a_slow_first_start_does_not_shrink_the_race() -> None:
    bench = SimulatedBench(GPU, lambda config: 0.2 * _step_s(config), budget_s=300.0, first_start_s=25.0)
    found = _find(bench)
    assert not found.not_tried
    assert len(found.recommendation.verdict.log_ratios) >= 5


@pytest.mark.parametrize("slowdown", [1.0, 1.3])
def test_the_race_is_planned_with_both_sides_times(slowdown: float) -> None:
    """On a GPU each side is fresh; the candidate, slower than the baseline, must not overdraw the budget."""
    bench = SimulatedBench(
        GPU,
        lambda config: 1.0 if config.caution() == (1, 0, 0, 0, 0) and config.batch_size == 16 else slowdown,
        budget_s=200.0,
    )
    _find(bench)
    assert bench.remaining_s >= -3.0 * slowdown


def test_fast_models_race_in_fresh_processes_on_a_cpu_too() -> None:
    bench = SimulatedBench(CPU, lambda config: 0.05 * _step_s(config), budget_s=90.0)
    _find(bench)
    race = [trial for trial in bench.trials if trial.stage is Stage.RACE]
    assert race
    assert all(trial.worst_case_ms is not None for trial in race)


def test_a_baseline_that_crashes_ends_the_run_with_its_reason() -> None:
    with pytest.raises(AutotuneError, match="as the test wants it"):
        _find(SimulatedBench(CPU, _step_s, fails=lambda config: Outcome.CRASHED))


def test_a_model_that_never_fits_ends_the_run() -> None:
    with pytest.raises(DeviceError, match="not even one image"):
        _find(SimulatedBench(CPU, _step_s, fails=lambda config: Outcome.OUT_OF_MEMORY))


def test_a_users_baseline_is_the_reference() -> None:
    own = TrainingConfig(batch_size=2, accumulation_steps=2, precision=Precision.BF16, channels_last=False)
    found = _find(SimulatedBench(CPU, _step_s, noise=0.002), baseline=own)
    assert found.baseline == own
    result = found.recommendation.verdict
    assert result.ratio == pytest.approx(1.3, rel=0.15)


@pytest.mark.parametrize("worst", [False, True])
def test_only_the_baseline_and_the_best_of_the_others_stay_alive_for_the_race(worst: bool) -> None:
    def step_s(config: TrainingConfig) -> float:
        return 0.5 if worst and config.caution() == (0, 0, 0, 0, 0) and config.batch_size == 4 else _step_s(config)

    bench = SimulatedBench(CPU, lambda config: 5.0 * step_s(config), noise=0.005, budget_s=120.0 if worst else 190.0)
    found = _find(bench)
    candidate = found.recommendation.verdict.candidate
    assert bench.alive == {found.baseline, candidate}
    race = [trial for trial in bench.trials if trial.stage is Stage.RACE]
    assert {trial.config for trial in race} == {found.baseline, candidate}
    assert all(trial.worst_case_ms is None for trial in race), "no side warmed up again"


GIB = 2**30


def _limited(limit_gib: float, **bench: object) -> SimulatedBench:
    """A GPU on which an image takes 1 GiB beside 1 GiB for the model, half precision 0.6 of it."""

    def memory_bytes(config: TrainingConfig) -> int:
        half = config.precision in (Precision.BF16, Precision.FP16)
        return int((1.0 + config.batch_size * (0.6 if half else 1.0)) * GIB)

    limit = int(limit_gib * GIB)
    return SimulatedBench(
        GPU,
        lambda config: 0.2 * _step_s(config),
        budget_s=1200.0,
        memory_bytes=memory_bytes,
        memory_limit_bytes=limit,
        fails=lambda config: Outcome.OK if memory_bytes(config) <= limit else Outcome.OUT_OF_MEMORY,
        **bench,
    )


@pytest.mark.parametrize(("limit_gib", "batch"), [(40.0, 16), (10.0, 8), (6.0, 4), (3.0, 2)])
def test_the_recommended_config_leaves_a_tenth_of_the_memory(limit_gib: float, batch: int) -> None:
    bench = _limited(limit_gib, noise=0.003)
    config = _find(bench).recommendation.config
    assert config.batch_size == batch
    assert (1.0 + 0.6 * batch) <= 0.9 * limit_gib
    failed = [trial for trial in bench.trials if trial.outcome is not Outcome.OK and trial.stage is not Stage.MEMORY]
    # The baseline has nothing to be predicted from; for the others small batches tell what is hopeless.
    assert len(failed) <= 1


def test_memory_is_probed_only_where_it_may_run_short() -> None:
    def probes(limit_gib: float) -> list[int]:
        bench = _limited(limit_gib)
        _find(bench)
        return [trial.config.batch_size for trial in bench.trials if trial.stage is Stage.MEMORY]

    assert probes(40.0) == []
    assert set(probes(10.0)) == {2, 8}


def test_cells_are_compared_where_each_is_at_its_best() -> None:
    """At batch 4, the largest that fp32 trains with, bf16 is the slower; at its own largest it is twice as fast."""

    def step_s(config: TrainingConfig) -> float:
        if config.precision is Precision.BF16:
            return {16: 0.1, 8: 0.15, 4: 0.4, 2: 0.8, 1: 1.6}[config.batch_size]
        return 0.2 * config.accumulation_steps / 4 + 0.1 if config.batch_size <= 4 else 0.3

    def fails(config: TrainingConfig) -> Outcome:
        large = config.batch_size > 4 and config.precision is not Precision.BF16
        return Outcome.OUT_OF_MEMORY if large else Outcome.OK

    found = _find(SimulatedBench(GPU, step_s, fails=fails, budget_s=1200.0))
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


def test_a_budget_that_is_said_to_settle_a_verdict_leaves_the_race_as_many_blocks() -> None:
    def bench(budget_s: float) -> SimulatedBench:
        # A tenth faster in bf16, which steps as noisy as these do not show within few blocks.
        return SimulatedBench(
            CPU,
            lambda config: 3.0 / (1.1 if config.precision is Precision.BF16 else 1.0),
            noise=0.06,
            budget_s=budget_s,
            seed=44,
        )

    sentence = _find(bench(150.0)).recommendation.verdict.sentence
    assert sentence.startswith("Not sure: ")
    told = re.search(r"--budget (\d+)s would do, for (\d+) blocks", sentence)
    assert told, sentence
    again = _find(bench(float(told[1]))).recommendation.verdict
    assert len(again.log_ratios) >= int(told[2]) or again.kind is VerdictKind.FASTER


def test_a_race_that_no_budget_settles_says_so() -> None:
    bench = SimulatedBench(CPU, lambda config: 0.5 + 0.01 * config.channels_last, noise=0.5, budget_s=2000.0)
    sentence = _find(bench).recommendation.verdict.sentence
    assert "of 12 at most: only a quieter machine helps" in sentence


def test_the_race_has_several_candidates_and_gives_up_those_that_fall_behind() -> None:
    def step_s(config: TrainingConfig) -> float:
        fast = {Precision.BF16: 1.50, Precision.FP16: 1.47}.get(config.precision or Precision.DEFAULT, 1.0)
        simple = not config.channels_last and not config.cudnn_benchmark
        return 0.2 * config.accumulation_steps**0.5 / fast * (1.0 if simple else 1.1)

    bench = SimulatedBench(GPU, step_s, budget_s=2000.0, noise=0.004)
    found = _find(bench)
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

    bench = SimulatedBench(GPU, lambda config: 0.2 * _step_s(config), budget_s=1200.0, losses=losses)
    found = _find(bench)
    assert found.recommendation.config.precision is not Precision.BF16
    assert any("bf16: its losses lie 15% from fp32's" in note for note in found.notes)
    raced = {trial.config.precision for trial in bench.trials if trial.stage is Stage.RACE}
    assert Precision.BF16 not in raced
    checks = [trial for trial in bench.trials if trial.stage is Stage.NUMERICS]
    assert checks[0].config.precision is Precision.FP32


def test_numerics_are_checked_once_per_precision_and_only_of_what_would_race() -> None:
    bench = SimulatedBench(GPU, lambda config: 0.2 * _step_s(config), budget_s=1200.0)
    assert _find(bench).notes == ()
    checked = [trial.config.precision for trial in bench.trials if trial.stage is Stage.NUMERICS]
    assert checked == [Precision.FP32, Precision.BF16]


def test_a_batch_that_is_too_small_for_the_model_hides_no_larger_one() -> None:
    """Live batch norm cannot train on one image; here two fit and sixteen do not."""

    def fails(config: TrainingConfig) -> Outcome:
        if config.batch_size == 1:
            return Outcome.UNSUPPORTED
        return Outcome.OUT_OF_MEMORY if config.batch_size > 4 else Outcome.OK

    bench = SimulatedBench(
        GPU,
        lambda config: 0.2 * _step_s(config),
        budget_s=1200.0,
        fails=fails,
        memory_limit_bytes=5 * GIB,
        memory_bytes=lambda config: config.batch_size * GIB,
    )
    found = _find(bench)
    assert found.baseline.batch_size == 4
    assert found.recommendation.config.batch_size == 4


def test_where_all_else_is_given_up_the_sentence_says_so() -> None:
    def step_s(config: TrainingConfig) -> float:
        return 1.0 if config == TrainingConfig.baseline(CPU) else 4.0

    found = _find(SimulatedBench(CPU, step_s))
    assert "all else was given up, 35% or more behind" in found.recommendation.verdict.sentence
    assert found.recommendation.config == found.baseline


@pytest.mark.parametrize("limit_gib", [40.0, 10.0, 6.0, 3.0])
def test_each_order_has_a_key_of_its_own_in_the_journal_and_nothing_tried_is_called_untried(limit_gib: float) -> None:
    bench = _limited(limit_gib, noise=0.01)
    found = _find(bench)
    keys = [(trial.stage, trial.config, trial.block) for trial in bench.trials]
    assert len(set(keys)) == len(keys)
    assert not set(found.not_tried) & {trial.config for trial in bench.trials if trial.step_ms}


def test_what_the_memory_fit_predicted_stands_in_the_trial_that_verified_it() -> None:
    bench = _limited(12.0)
    _find(bench)
    predicted = [trial for trial in bench.trials if trial.predicted_peak_bytes is not None]
    assert predicted
    assert all(trial.stage is Stage.SETTINGS for trial in predicted)
    # Memory grows in a straight line here.
    assert [trial.peak_prediction_error for trial in predicted if trial.outcome is Outcome.OK] == pytest.approx(
        [0.0] * sum(trial.outcome is Outcome.OK for trial in predicted), abs=1e-6
    )


def _knob_step_s(config: TrainingConfig) -> float:
    """Compiling is worth 1.2x, a fused optimizer 1.1x, together 1.32x; foreach is a loss."""
    seconds = _step_s(config) / (1.2 if config.compile else 1.0)
    worth = {"fused": 1.1, "foreach": 0.9}.get(config.optimizer_implementation, 1.0)
    return seconds / worth


def test_extra_knobs_are_tried_on_the_leading_cells_alone_and_together_where_both_help() -> None:
    plain, asked = (SimulatedBench(CPU, _knob_step_s, budget_s=300.0) for _ in range(2))
    without = _find(plain)
    found = _find(asked, knobs=("compile", "optimizer"))
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


def test_a_knob_whose_batch_does_not_fit_is_tried_at_the_next_smaller_one() -> None:
    def fits(config: TrainingConfig) -> Outcome:
        return Outcome.OUT_OF_MEMORY if config.compile and config.batch_size > 2 else Outcome.OK

    bench = SimulatedBench(CPU, _knob_step_s, budget_s=300.0, fails=fits)
    found = _find(bench, knobs=("compile",))
    assert [t.config.batch_size for t in bench.trials if t.stage is Stage.KNOBS and t.config.compile][:2] == [4, 2]
    assert found.recommendation.config.batch_size == (2 if found.recommendation.config.compile else 4)


@pytest.mark.parametrize("outcome", [Outcome.UNSUPPORTED, Outcome.CRASHED, Outcome.TIMEOUT])
def test_a_compilation_that_fails_is_a_trial_and_the_run_goes_on(outcome: Outcome) -> None:
    bench = SimulatedBench(CPU, _knob_step_s, fails=lambda config: outcome if config.compile else Outcome.OK)
    found = _find(bench, knobs=("compile",))
    assert [trial.outcome for trial in bench.trials if trial.config.compile] == [outcome]
    assert found.recommendation.verdict.kind is VerdictKind.FASTER


def test_a_compiled_config_whose_losses_part_from_fp32s_is_not_recommended() -> None:
    bench = SimulatedBench(CPU, _knob_step_s, losses=lambda config: 3.0 if config.compile else 2.0, budget_s=300.0)
    found = _find(bench, knobs=("compile",))
    assert not found.recommendation.config.compile
    assert any("compile" in note and "50% from fp32's" in note for note in found.notes)


def test_what_takes_too_long_to_compile_for_a_race_does_not_take_the_verdict_with_it() -> None:
    bench = SimulatedBench(GPU, _knob_step_s, budget_s=300.0, start_s=lambda config: 90.0 if config.compile else 0.0)
    found = _find(bench, knobs=("compile",))
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
    found = _find(bench, knobs=("compile",))
    assert [t.outcome for t in bench.trials if t.config.compile] == [Outcome.OK, Outcome.CRASHED]
    assert not found.recommendation.config.compile
    assert found.recommendation.verdict.kind is VerdictKind.FASTER


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMEOUT, Outcome.NON_FINITE])
def test_one_mishap_at_the_largest_batch_fails_that_batch_and_two_end_the_cell(outcome: Outcome) -> None:
    def fails_from(batch: int) -> Callable[[TrainingConfig], Outcome]:
        bf16 = Precision.BF16
        return lambda config: outcome if config.precision is bf16 and config.batch_size >= batch else Outcome.OK

    found = _find(SimulatedBench(GPU, lambda config: 0.2 * _step_s(config), fails=fails_from(16), budget_s=900.0))
    assert (found.recommendation.config.precision, found.recommendation.config.batch_size) == (Precision.BF16, 8)
    bench = SimulatedBench(GPU, lambda config: 0.2 * _step_s(config), fails=fails_from(1), budget_s=900.0)
    assert _find(bench).recommendation.config.precision is not Precision.BF16
    tried = Counter(trial.config.settings_label() for trial in bench.trials if trial.outcome is outcome)
    assert set(tried.values()) == {2}


def test_a_baseline_that_fits_only_once_gives_way_to_a_smaller_one() -> None:
    seen: Counter[TrainingConfig] = Counter()

    def fails(config: TrainingConfig) -> Outcome:
        seen[config] += 1
        return Outcome.OUT_OF_MEMORY if config.batch_size == 16 and seen[config] > 1 else Outcome.OK

    found = _find(SimulatedBench(GPU, lambda config: 0.2 * _step_s(config), fails=fails, budget_s=600.0))
    assert found.baseline.batch_size == 8


def test_where_memory_may_run_short_the_cells_after_the_first_of_a_width_are_not_probed() -> None:
    bench = _limited(10.0)
    _find(bench)
    probed = {trial.config.settings_label() for trial in bench.trials if trial.stage is Stage.MEMORY}
    assert 1 <= len(probed) <= 2


def test_where_time_is_short_ladders_come_before_combinations_of_which_nothing_is_expected() -> None:
    """bf16 is three times as fast, channels_last costs a fifth everywhere, and half the batch is a tenth faster."""

    def step_s(config: TrainingConfig) -> float:
        seconds = 4.0 / (3.0 if config.precision in (Precision.BF16, Precision.FP16) else 1.0)
        return seconds * (1.25 if config.channels_last else 1.0) * (0.9 if config.batch_size == 8 else 1.0)

    bench = SimulatedBench(GPU, step_s, budget_s=300.0)
    found = _find(bench)
    assert found.not_tried, "the budget is too short for all"
    assert found.recommendation.config.precision in (Precision.BF16, Precision.FP16)
    assert not found.recommendation.config.channels_last
    assert found.recommendation.config.batch_size == 8
    rungs = [place for place, trial in enumerate(bench.trials) if trial.stage is Stage.BATCH_SIZES]
    screened = [place for place, trial in enumerate(bench.trials) if trial.stage is Stage.SETTINGS]
    assert rungs
    assert rungs[0] < screened[-1] or len(screened) < 19
