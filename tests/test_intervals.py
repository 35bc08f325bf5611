from __future__ import annotations

import math

import pytest

from autotune.intervals import blocks_enough, interval, interval_of_two


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


def _logs(mean: float, spread: float, blocks: int) -> list[float]:
    """Blocks of exactly that mean and standard deviation; an even number of them."""
    apart = spread * math.sqrt((blocks - 1) / blocks)
    return [mean + apart, mean - apart] * (blocks // 2)


@pytest.mark.parametrize(
    ("mean", "spread", "blocks", "at_99", "enough"),
    [
        (0.05, 0.01, 4, False, None),  # 3.182 x 0.01 / 2 = 0.016 tells 0.05
        (0.05, 0.04, 4, False, 5),  # 2.776 x 0.04 / sqrt(5) = 0.0497
        (0.05, 0.04, 4, True, 8),  # 3.499 x 0.04 / sqrt(8) = 0.0495
        (-0.05, 0.04, 4, True, 8),  # a loss as a gain
        (0.0, 0.01, 4, False, 7),  # the zone of 1% is told: 2.447 x 0.01 / sqrt(7) = 0.00925
        (0.001, 0.05, 4, False, 115),  # (2.131 x 0.05 / 0.00995)^2
        (0.0, 0.0, 2, True, None),
    ],
)
def test_the_blocks_that_would_do_by_the_spread_of_those_that_there_are(mean, spread, blocks, at_99, enough):
    assert blocks_enough(_logs(mean, spread, blocks), at_99=at_99) == enough


def test_one_block_has_no_spread_to_go_by():
    with pytest.raises(ValueError, match="two blocks"):
        blocks_enough([0.1])
