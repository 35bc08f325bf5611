from __future__ import annotations

import pytest

from autotune.records import Stage
from autotune.reports.page.race import heats, race
from records import BF16, TF32, faster, run_record, with_heats


def test_the_race_is_the_verdicts_own_blocks_and_interval():
    raced = race(faster())
    assert (raced.ratio, raced.low, raced.high) == (2.31, 2.28, 2.34)
    assert raced.blocks == pytest.approx((2.31,) * 8)
    assert raced.of == "times as fast"
    assert race(run_record()) is None


def test_the_heats_are_told_as_times_as_fast_as_who_met_the_baseline():
    found = heats(with_heats())
    assert (found.of, found.reference) == ("times as fast", BF16.label())
    assert {side.setting: side.blocks for side in found.sides} == {
        TF32.label(): (pytest.approx(175 / 210, rel=1e-4),) * 3 + (None, None),
        BF16.at_batch_size(8, 16).label(): pytest.approx([175 / ms for ms in (176, 175, 174, 175, 180)], rel=1e-4),
    }


def test_heats_of_an_interrupted_run_are_told_beside_who_took_part_in_most():
    found = heats(with_heats().model_copy(update={"recommendation": None}))
    assert found.reference == BF16.label()


def test_a_run_without_heats_or_with_one_side_left_in_them_has_none():
    assert heats(faster()) is None
    alone = [trial for trial in with_heats().trials if trial.stage is not Stage.HEATS or trial.config == BF16]
    assert heats(run_record(alone)) is None
