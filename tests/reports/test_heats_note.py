from __future__ import annotations

from autotune.records import Recommended
from autotune.reports import markdown, terminal
from autotune.reports.heats_note import heats_note
from records import BASELINE, BF16, FP16, TF32, faster, heats, ok, race, run_record, verdict, with_heats


def test_who_took_part_in_the_heats_says_how_it_did_beside_the_winner():
    trials = [
        *(ok(each, 200.0) for each in (BF16, FP16, TF32)),
        *heats({BF16: (100.0, 102.0, 98.0), FP16: (110.0, 112.2)}),
        *race(BF16, 404.0, 174.9, blocks=8),
    ]
    record = run_record(trials, recommendation=Recommended(config=BF16, verdict=verdict(BF16, 2.31, 8)))
    assert heats_note(record, BF16) == "won the heats"
    assert heats_note(record, FP16) == "heats: 0.91x the winner (2 blocks)"
    assert heats_note(record, TF32) == heats_note(record, BASELINE) == ""
    for text in (terminal.render(record), markdown.render(record)):
        assert "heats: 0.91x the winner (2 blocks)" in text


def test_where_there_were_no_heats_or_not_for_speed_there_is_nothing_to_say():
    assert not any(heats_note(faster(), trial.config) for trial in faster().trials)
    record = with_heats()
    assert any(heats_note(record, trial.config) for trial in record.trials)
    found = record.recommendation
    energy = found.model_copy(update={"verdict": found.verdict.model_copy(update={"measure": "energy"})})
    record = record.model_copy(update={"recommendation": energy})
    assert not any(heats_note(record, trial.config) for trial in record.trials)
