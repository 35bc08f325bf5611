from __future__ import annotations

import csv
import io

import pandas as pd
import pytest

from autotune.config import KNOBS
from autotune.energy_record import Energy, EnergySource
from autotune.records import Outcome
from autotune.reports import trials_csv
from autotune.reports.table import trials_table
from records import BASELINE, failed, faster, ok, run_record


def test_each_trial_is_a_row_that_pandas_reads_back(any_record):
    frame = pd.read_csv(io.StringIO(trials_csv.render(any_record)))
    assert len(frame) == len(any_record.trials)
    for trial, row in zip(any_record.trials, frame.to_dict("records"), strict=True):
        assert row["number"] == trial.number
        assert row["outcome"] == trial.outcome
        assert row["batch_size"] == trial.config.batch_size
        assert row["samples"] == len(trial.step_ms)
        if trial.step_ms:
            assert row["median_images_per_second"] == pytest.approx(trial.median_images_per_second)
            assert row["peak_memory_bytes"] == trial.peak_memory_bytes


def test_the_median_of_a_trial_is_the_tables_of_a_config_with_no_other():
    record = run_record([ok(BASELINE, 1.0, step_ms=(80.0, 100.0), steps=(0, 1))])
    (row,) = csv.DictReader(io.StringIO(trials_csv.render(record)))
    (of_config,) = trials_table(record)
    # By hand: 16 images in 80 ms and in 100 ms are 200 and 160 a second.
    assert float(row["median_images_per_second"]) == of_config["median_images_per_second"] == pytest.approx(180.0)


def test_every_knob_is_a_column():
    header = next(csv.reader(io.StringIO(trials_csv.render(faster()))))
    assert {knob.name for knob in KNOBS if not knob.asked_as} <= set(header)


def test_a_knob_that_is_asked_for_is_a_column_where_a_trial_used_it():
    compiled = BASELINE.model_copy(update={"compile": True})
    rows = list(csv.DictReader(io.StringIO(trials_csv.render(run_record([ok(BASELINE, 9.0), ok(compiled, 8.0)])))))
    assert [row["compile"] for row in rows] == ["", "True"]
    assert "optimizer_implementation" not in rows[0]
    assert "compile" not in trials_csv.render(faster()).splitlines()[0].split(",")


def test_absent_values_are_empty_and_whole_numbers_stay_whole():
    rows = list(csv.DictReader(io.StringIO(trials_csv.render(faster()))))
    assert rows[0]["block"] == rows[3]["median_images_per_second"] == rows[3]["peak_memory_bytes"] == ""
    assert rows[9]["block"] == "0"
    assert rows[0]["peak_memory_bytes"] == str(62 * 2**30)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_childs_last_words_stay_one_cell(end):
    detail = f'two{end}lines, a comma and "quotes"'
    text = trials_csv.render(run_record([failed(BASELINE, Outcome.CRASHED, detail)]))
    for cells in (
        list(csv.DictReader(io.StringIO(text, newline=""))),
        pd.read_csv(io.StringIO(text)).to_dict("records"),
    ):
        assert [cell["detail"] for cell in cells] == ['two\nlines, a comma and "quotes"']


def test_energy_stands_beside_the_time():
    energy = Energy(joules=64.0, window_s=2.0, source=EnergySource.COUNTER, readings=2)
    (row,) = csv.DictReader(io.StringIO(trials_csv.render(run_record([ok(BASELINE, 100.0, energy=energy)]))))
    assert (row["energy_joules"], row["energy_source"], row["images_per_joule"]) == ("64.0", "counter", "2.0")
