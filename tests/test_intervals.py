from __future__ import annotations

import math

import pytest

from autotune.intervals import interval, interval_of_two


def test_the_interval_of_two_samples_is_welchs():
    # By hand: errors 0.3614 and 0.0271 squared, 4.6 degrees of freedom, so that t is 2.776 at 4.
    ours, theirs = [12.1, 13.4, 11.8, 15.2, 12.9], [8.0, 8.9, 8.4, 9.1, 8.3, 8.5]
    logs = [math.log(value) for value in interval_of_two(ours, theirs)]
    assert logs == pytest.approx([4.5467, 4.5467 - 2.776 * 0.6233, 4.5467 + 2.776 * 0.6233], abs=1e-3)


def test_sides_without_any_spread_have_an_interval_of_no_width():
    assert interval_of_two([1.0, 1.0], [0.0, 0.0]) == (math.e, math.e, math.e)


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [1.0, 2.0]), ([1.0, 2.0], [])])
def test_one_block_has_no_interval(ours, theirs):
    with pytest.raises(ValueError, match="two blocks on each side"):
        interval_of_two(ours, theirs)


def test_pairs_and_two_samples_agree_where_the_other_side_never_varies():
    logs = [0.1, 0.2, 0.15, 0.12, 0.18]
    assert interval_of_two(logs, [0.0] * 5) == pytest.approx(interval(logs))
