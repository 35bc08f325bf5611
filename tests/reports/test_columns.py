from __future__ import annotations

from autotune.reports import markdown, terminal
from autotune.reports.columns import filled
from records import BASELINE, BF16, ok, run_record


def test_columns_that_some_row_has_text_for_are_kept_in_their_order() -> None:
    assert filled(("a", "b", "c"), [["1", "", ""], ["", "", "3"]]) == (["a", "c"], [["1", ""], ["", "3"]])
    assert filled(("a", "b"), []) == ([], [])


def test_a_run_that_knows_no_peaks_has_no_column_of_them() -> None:
    with_peaks = run_record([ok(BASELINE, 400.0), ok(BF16, 175.0)])
    trials = tuple(trial.model_copy(update={"peak_memory_bytes": None}) for trial in with_peaks.trials)
    for report in (terminal, markdown):
        assert "peak GiB" in report.render(with_peaks)
        without = report.render(with_peaks.model_copy(update={"trials": trials}))
        assert "peak GiB" not in without
        assert "91.43" in without
