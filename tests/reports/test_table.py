from __future__ import annotations

import math
from statistics import fmean

import pytest

from autotune.records import DeviceState, Outcome, Recommended, Stage
from autotune.reports import terminal
from autotune.reports.table import trials_frame
from autotune.tuner.verdict import paired_log_ratio
from records import BASELINE, BF16, TF32, failed, faster, ok, race, run_record, tie, verdict


def test_each_config_has_one_row_the_baseline_first_then_the_fastest_then_the_failures():
    frame = trials_frame(faster())
    assert list(frame["setting"]) == [
        "default, batch 16",
        "bf16 + channels_last, batch 16",
        "tf32, batch 16",
        "fp16, batch 16",
        "default, batch 8 x 2",
        "default, batch 4 x 4",
        "default, batch 2 x 8",
    ]
    assert list(frame["outcome"][3:]) == ["non_finite", "crashed", "timeout", "out_of_memory"]
    assert list(frame["is_baseline"]).index(True) == 0
    assert list(frame["is_recommended"]).index(True) == 1


def test_the_ratio_compares_the_same_images():
    # The candidate timed only the two slowest of the baseline's eight batches: medians would call it slower.
    slowest = ok(TF32, 80.0, step_ms=(80.0 * 1.3, 80.0 * 1.2), steps=(1, 5))
    row = trials_frame(run_record([ok(BASELINE, 100.0, Stage.BASELINE), slowest])).iloc[1]
    assert row["ratio"] == pytest.approx(100 / 80)
    assert row["median_images_per_second"] < 16 / 0.080


def test_without_a_common_step_the_ratio_is_that_of_the_medians():
    other = ok(TF32, 50.0, first_step=1000)
    row = trials_frame(run_record([ok(BASELINE, 100.0, Stage.BASELINE), other])).iloc[1]
    assert row["ratio"] == pytest.approx(2.0)


def test_the_race_is_pooled_apart_from_the_search():
    # The machine became twice as slow before the race: neither ratio may mix the two.
    trials = [ok(BASELINE, 100.0, Stage.BASELINE), ok(BF16, 50.0), *race(BF16, 200.0, 100.0, blocks=4)]
    row = trials_frame(run_record(trials)).iloc[1]
    assert row["ratio"] == pytest.approx(2.0)
    assert row["race_ratio"] == pytest.approx(2.0)
    assert row["median_images_per_second"] == pytest.approx(2 * row["race_images_per_second"])


def test_the_speeds_of_a_race_are_as_far_apart_as_its_verdict_says():
    trials = race(BF16, 200.0, 100.0, blocks=4)
    trials[1] = trials[1].model_copy(update={"step_ms": tuple(5.0 * ms for ms in trials[1].step_ms)})
    baseline, candidate = (row for _, row in trials_frame(run_record(trials)).iterrows())
    mean = fmean(paired_log_ratio(*trials[place : place + 2]) for place in range(0, 8, 2))
    speeds = [row["race_images_per_second"] for row in (baseline, candidate)]
    assert speeds[1] / speeds[0] == pytest.approx(math.exp(mean))


def test_where_another_lost_the_final_the_speeds_are_those_of_the_verdicts_blocks():
    # TF32 failed after two blocks of larger images.
    lost = [
        trial.model_copy(update={"step_ms": tuple(1.5 * ms for ms in trial.step_ms)})
        for trial in race(TF32, 200.0, 150.0, blocks=2)
    ]
    won = [
        trial.model_copy(update={"steps": tuple(500 + step for step in trial.steps), "block": trial.block + 100})
        for trial in race(BF16, 200.0, 100.0, blocks=5)
    ]
    recommendation = Recommended(config=BF16, verdict=verdict(BF16, 2.0, 5))
    frame = trials_frame(run_record([*lost, *won], recommendation=recommendation)).set_index("setting")
    baseline, candidate = (frame.loc[config.label()]["race_images_per_second"] for config in (BASELINE, BF16))
    assert candidate / baseline == pytest.approx(2.0)


def test_a_race_that_was_interrupted_in_its_first_block_has_no_ratio():
    record = run_record([ok(BASELINE, 100.0, Stage.BASELINE), ok(BF16, 50.0), *race(BF16, 200.0, 100.0, blocks=1)[1:]])
    text = terminal.render(record)
    assert "nan" not in text
    assert f"({trials_frame(record).iloc[1]['race_images_per_second']:.4g})" in text


def test_the_candidates_race_ratio_is_the_verdicts():
    record = faster()
    assert trials_frame(record).iloc[1]["race_ratio"] == verdict(BF16, 2.31, 8).ratio


def test_a_baseline_raced_against_itself_is_one_row():
    frame = trials_frame(tie())
    assert len(frame) == 1
    assert frame.iloc[0]["race_ratio"] == 1.0
    assert frame.iloc[0]["trials"] == 3


def test_spread_best_and_peak_come_from_the_trials():
    trials = [
        ok(BASELINE, 100.0, Stage.BASELINE, peak_memory_bytes=2**30),
        ok(BASELINE, 80.0, peak_memory_bytes=2**31),
    ]
    row = trials_frame(run_record(trials)).iloc[0]
    assert row["best_images_per_second"] == pytest.approx(16 / 0.080)
    assert row["p10_images_per_second"] < row["median_images_per_second"] < row["p90_images_per_second"]
    assert row["peak_memory_gib"] == 2.0


def test_a_config_that_failed_once_says_so_in_its_row():
    trials = [ok(BASELINE, 100.0, Stage.BASELINE), failed(BASELINE, Outcome.CRASHED, "killed by SIGKILL")]
    row = trials_frame(run_record(trials)).iloc[0]
    assert row["outcome"] == "ok"
    assert row["notes"] == "1 of 2 trials failed: crashed"


def test_a_failed_config_has_no_figures():
    trials = [ok(BASELINE, 100.0, Stage.BASELINE), failed(BF16, Outcome.OUT_OF_MEMORY, "2 GiB")]
    row = trials_frame(run_record(trials)).iloc[1]
    assert math.isnan(row["median_images_per_second"])
    assert math.isnan(row["ratio"])


def test_each_config_that_was_tried_has_a_row_and_what_trained_for_its_losses_alone_has_none(any_record):
    frame = trials_frame(any_record)
    assert len(frame) == len({trial.config for trial in any_record.trials if not trial.losses})
    assert frame["ratio"].dtype == float


def test_a_verdict_on_energy_is_no_ratio_of_speeds():
    ours = verdict(BF16, 3.0, 4).model_copy(update={"measure": "energy"})
    record = run_record(race(BF16, 200.0, 100.0, blocks=4), recommendation=Recommended(config=BF16, verdict=ours))
    assert trials_frame(record).iloc[1]["race_ratio"] == pytest.approx(2.0)


def test_a_disturbed_trial_with_a_clean_repeat_gives_no_figure():
    company = DeviceState(other_gpu_processes=1)
    trials = [ok(BASELINE, 400.0, state=company, peak_memory_bytes=2**34), ok(BASELINE, 100.0, repeated=True)]
    row = trials_frame(run_record(trials)).iloc[0]
    assert row["median_images_per_second"] == pytest.approx(160.0, rel=0.05)
    assert row["trials"] == 1


def test_the_recommended_config_comes_second_though_others_were_faster_in_the_search():
    search = [ok(BASELINE, 400.0, Stage.BASELINE), ok(BF16, 200.0), ok(TF32, 190.0)]
    trials = [*search, *race(BF16, 240.0, 200.0, blocks=4)]
    record = run_record(trials, recommendation=Recommended(config=BF16, verdict=verdict(BF16, 1.2, 4)))
    assert list(trials_frame(record)["setting"]) == [BASELINE.label(), BF16.label(), TF32.label()]
