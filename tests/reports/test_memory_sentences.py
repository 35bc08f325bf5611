from __future__ import annotations

import pytest

from autotune.records import Outcome, Recommended
from autotune.reports import markdown, terminal
from autotune.reports.memory_sentences import memory_fit
from records import BASELINE, BF16, FP16, GIB, TF32, failed, faster, ok, run_record, verdict


def predicted(gib: float, trial):
    return trial.model_copy(update={"predicted_peak_bytes": int(gib * GIB)})


def record():
    trials = [
        ok(BASELINE, 100.0, peak_memory_bytes=40 * GIB),
        predicted(42.0, ok(BF16, 50.0, peak_memory_bytes=40 * GIB)),
        predicted(39.0, ok(TF32, 90.0, peak_memory_bytes=40 * GIB)),
        predicted(41.0, failed(FP16, Outcome.OUT_OF_MEMORY, "")),
    ]
    return run_record(trials, recommendation=Recommended(config=BF16, verdict=verdict(BF16, 2.0, 5)))


def test_the_predictions_errors_are_told_in_every_report():
    said = (
        "peaks predicted from smaller batches for 3 trials, then verified: off by -2.5% to +5.0%; 1 did not fit though "
        "predicted to; bf16 + channels_last, batch 16: 42.0 GiB predicted, 40.0 measured"
    )
    assert memory_fit(record()) == said
    assert said in terminal.render(record())
    assert said in markdown.render(record())


def test_where_nothing_was_predicted_nothing_is_told():
    assert memory_fit(faster()) is None


def test_where_nothing_fitted_there_is_no_error_to_tell():
    found = run_record([predicted(41.0, failed(FP16, Outcome.OUT_OF_MEMORY, ""))])
    assert memory_fit(found) == (
        "peaks predicted from smaller batches for 1 trials, then verified; 1 did not fit though predicted to"
    )


def test_the_error_is_above_for_what_was_predicted_too_large():
    error = [trial.peak_prediction_error for trial in record().trials]
    assert error == [None, pytest.approx(0.05), pytest.approx(-0.025), None]
