from __future__ import annotations

import re

from autotune.reports import comparison_text, markdown, notebook, terminal
from autotune.reports.columns import filled
from autotune.reports.comparison import comparison
from records import BASELINE, BF16, GIB, faster, ok, run_record


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


def test_every_table_tells_peaks_apart_that_differ_by_two_percent() -> None:
    peaks = {BASELINE: int(0.654 * GIB), BF16: int(0.641 * GIB)}
    record = faster()
    trials = [t.model_copy(update={"peak_memory_bytes": peaks.get(t.config, GIB)}) for t in record.trials]
    record = record.model_copy(update={"trials": tuple(trials)})
    compared = comparison_text.terminal(comparison([("one", record)]))
    for text in (terminal.render(record), markdown.render(record), notebook.recommendation(record)):
        assert {"0.654", "0.641"} <= set(re.findall(r"\d+\.\d+", text))
    assert "it peaked at 0.641 of 139.8 GiB" in terminal.render(record)
    assert "0.641" in compared
