from __future__ import annotations

import pytest

from autotune.records import Outcome
from autotune.reports.page.search import TRIAL_COLUMNS, measured, memory_limit_gib, trial_rows
from records import BASELINE, BF16, GIB, TF32, failed, faster, ok, run_record, tie


def test_a_config_is_shown_with_its_median_and_deciles_over_the_search():
    found = {each.setting: each for each in measured(faster())}
    ours = found[BF16.label()]
    assert ours.images_per_second == pytest.approx(16 / 0.175, rel=1e-4)
    assert ours.low < ours.images_per_second < ours.high
    assert (ours.cell, ours.batch_size, ours.is_recommended) == ("bf16 + channels_last", 16, True)
    assert found[BASELINE.label()].is_baseline


def test_failed_configs_stay_with_their_outcome_and_no_figure():
    found = {each.setting: each for each in measured(faster())}
    lost = found[BASELINE.at_batch_size(2, 16).label()]
    assert (lost.outcome, lost.images_per_second, lost.peak_gib) == (Outcome.OUT_OF_MEMORY, None, None)


def test_the_front_holds_what_none_beats_in_speed_and_memory():
    trials = [
        ok(BASELINE, 100.0, peak_memory_bytes=10 * GIB),
        ok(BF16, 50.0, peak_memory_bytes=20 * GIB),
        ok(TF32, 120.0, peak_memory_bytes=15 * GIB),
        failed(BASELINE.at_batch_size(2, 16), Outcome.CRASHED, ""),
    ]
    assert {each.setting for each in measured(run_record(trials)) if each.on_front} == {BASELINE.label(), BF16.label()}


def test_the_limit_is_the_runs_own_or_the_devices():
    assert memory_limit_gib(faster()) == pytest.approx(139.8)
    job = faster().job.model_copy(update={"memory_limit_bytes": 8 * GIB})
    assert memory_limit_gib(run_record(job=job)) == 8.0


def test_each_trial_is_a_row():
    rows = trial_rows(tie())
    assert len(rows) == 3
    assert all(len(row) == len(TRIAL_COLUMNS) for row in rows)
    crashed = dict(zip(TRIAL_COLUMNS, trial_rows(faster())[4], strict=True))
    assert crashed["outcome"] == "crashed"
    assert crashed["images/s"] is None
    assert crashed["remark"] == "killed by SIGSEGV last words: <b>core dumped</b>"
