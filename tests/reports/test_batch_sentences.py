from __future__ import annotations

import pytest

from autotune.records import Outcome, Recommended, RunRecord
from autotune.reports import sentences
from autotune.reports.batch_sentences import divisors_hint
from records import BASELINE, failed, ok, run_record, verdict


def _record(effective: int, batch: int, *, short: bool = False) -> RunRecord:
    config = BASELINE.model_copy(update={"batch_size": batch, "accumulation_steps": effective // batch})
    whole = BASELINE.model_copy(update={"batch_size": effective})
    record = run_record(
        [ok(config, 400.0), *[failed(whole, Outcome.OUT_OF_MEMORY, "2 GB")] * short],
        recommendation=Recommended(config=config, verdict=verdict(config, 1.1, 8)),
    )
    return record.model_copy(update={"job": record.job.model_copy(update={"effective_batch": effective})})


def test_few_divisors_are_said_with_neighbours_that_have_more():
    hint = divisors_hint(_record(13, 1, short=True))
    assert hint.startswith("effective batch 13 can be split only into batches of 1 or 13; 12 or 16 would allow more")
    assert "1, 2, 7 or 14; 12 or 16" in divisors_hint(_record(14, 7))
    assert hint in sentences.left_out(_record(13, 1, short=True))


@pytest.mark.parametrize(("effective", "batch"), [(16, 4), (12, 6), (6, 3), (4, 1), (1, 1), (2, 1), (9, 3), (13, 13)])
def test_nothing_is_said_where_divisors_are_close_or_the_whole_batch_is_trained_with(effective, batch):
    assert divisors_hint(_record(effective, batch)) is None
