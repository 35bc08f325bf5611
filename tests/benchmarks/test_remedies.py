"""What a verdict says would do, on surfaces that are replayed with it."""

from __future__ import annotations

import re

import pytest

from autotune.records import RaceEnd, Verdict, VerdictKind
from autotune.tuner.cell_search import CellSearch
from benchmarks.replay.replayed import Noise, ReplayBench
from benchmarks.replay.surfaces import Surface, equal, synthetic

_BUDGET = re.compile(r"--budget (\d+)s (?:would|may) do")


def _verdict(surface: Surface, seed: int, budget_s: float) -> Verdict:
    bench = ReplayBench(surface, Noise(0.007), seed, budget_s)
    return CellSearch().run(bench, surface.space).recommendation.verdict


@pytest.mark.parametrize("budget_s", [15.0, 30.0])
def test_the_budget_that_may_do_for_a_first_comparison_does_where_all_settings_start_alike(budget_s: float) -> None:
    """Some of these run short of memory, whose probes come before the first trial."""
    told = 0
    for seed in range(1000, 1016):
        surface = synthetic(seed, 16 if seed % 2 else 96)
        before = _verdict(surface, seed, budget_s)
        if before.kind is VerdictKind.NOT_MEASURED and (advised := _BUDGET.search(before.sentence)):
            told += 1
            after = _verdict(surface, seed, float(advised[1]))
            assert after.kind is not VerdictKind.NOT_MEASURED, (seed, before.sentence, after.sentence)
    assert told >= 3, "else the test tests nothing"


@pytest.mark.parametrize("budget_s", [300.0, 3000.0])
def test_no_budget_is_said_to_do_that_was_given_or_where_the_race_ended_since_it_was_clear(budget_s: float) -> None:
    found = [_verdict(equal(seed), seed, budget_s) for seed in range(1000, 1012)]
    for each in found:
        advised = _BUDGET.search(each.sentence)
        assert advised is None or int(advised[1]) > budget_s, each.sentence
        assert not (advised and each.race_end is RaceEnd.CLEAR), each.sentence
    assert any(each.race_end is RaceEnd.CLEAR for each in found)
