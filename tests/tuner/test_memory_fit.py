from __future__ import annotations

import pytest

from autotune.tuner.memory_fit import MemoryFit

SIZES = (1, 2, 4, 8, 16, 32, 64)


def _fit(peaks: dict[int, float]) -> MemoryFit:
    fit = MemoryFit()
    for batch, peak in peaks.items():
        fit.add(batch, peak)
    return fit


def test_the_line_runs_through_the_two_largest_batches() -> None:
    # What a small batch takes is rounded up by the allocator: the slope near the limit counts.
    fit = _fit({2: 30.0, 8: 40.0, 16: 60.0})
    assert fit.predict(32) == pytest.approx(100.0)
    assert fit.predict(8) == 40.0, "what was measured stands"


def test_nothing_is_predicted_from_one_batch() -> None:
    assert _fit({2: 30.0}).predict(8) is None
    assert MemoryFit().candidate(SIZES, 100.0) == 64, "then the largest is tried"


@pytest.mark.parametrize(
    ("limit", "size"), [(1000.0, 64), (345.0, 32), (331.0, 32), (170.0, 16), (19.5, 1), (9.0, None)]
)
def test_the_largest_batch_within_reach_of_the_limit(limit: float, size: int | None) -> None:
    # 10 x batch + 10: 330 at batch 32, and tried where it is predicted up to 3% beyond the limit.
    assert _fit({2: 30.0, 4: 50.0}).candidate(SIZES, limit) == size


def test_what_was_measured_beyond_the_limit_is_not_tried_again() -> None:
    fit = _fit({2: 30.0, 4: 50.0, 32: 331.0})
    assert fit.candidate(SIZES, 330.0) == 16


def test_a_failure_ends_the_ladder_above_it() -> None:
    fit = _fit({2: 30.0, 4: 50.0})
    fit.fail(16)
    assert fit.candidate(SIZES, 1e9) == 8
    fit.fail(0)
    assert fit.candidate(SIZES, 1e9) is None


def test_a_prediction_is_for_what_is_larger_than_all_that_was_measured() -> None:
    fit = MemoryFit()
    fit.add(2, 300.0)
    assert fit.beyond(16) is None
    fit.add(8, 900.4)
    assert fit.beyond(16) == 1701
    assert fit.beyond(8) is None
    assert fit.beyond(4) is None


def test_a_cell_of_which_little_is_known_is_predicted_by_one_that_is_like_it() -> None:
    fit = MemoryFit()
    fit.like = _fit({2: 30.0, 4: 50.0})
    assert fit.predict(16) == pytest.approx(170.0)
    fit.add(8, 99.0)  # a tenth more than the other takes there
    assert fit.predict(16) == pytest.approx(1.1 * 170.0)
    fit.add(4, 55.0)  # now it has a line of its own
    assert fit.predict(16) == pytest.approx(99.0 + 8 * 11.0)
