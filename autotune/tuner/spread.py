"""How much timed steps differ for no reason that is known: neither their side, nor their block or images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median

__all__ = ["robust_variance", "unexplained_variance"]

_SIDES_FOR_A_MEDIAN = 4


def unexplained_variance(rows: Sequence[Sequence[float]]) -> float:
    """Of logarithms of times, a row a side, a column a block: what both leave unexplained.

    Two-way analysis of variance with one observation a cell, whose residuals have (sides - 1) x (blocks - 1) degrees of
    freedom (any textbook of statistics). 0 for a single side; rows are of one length, two at least.
    """
    sides, blocks = len(rows), len(rows[0])
    if sides < 2:
        return 0.0
    of_block = [fmean(column) for column in zip(*rows, strict=True)]
    of_side = [fmean(row) for row in rows]
    middle = fmean(of_side)
    squares = sum(
        (value - of_side[side] - of_block[block] + middle) ** 2
        for side, row in enumerate(rows)
        for block, value in enumerate(row)
    )
    return squares / ((sides - 1) * (blocks - 1))


def robust_variance(rows: Sequence[Sequence[float]]) -> float:
    """The same where a few sides may have been disturbed: by medians over the sides, which fewer than half of them move
    little. Of fewer than four sides a median tells nothing more."""
    sides, blocks = len(rows), len(rows[0])
    if sides < _SIDES_FOR_A_MEDIAN:
        return unexplained_variance(rows)
    freedom = blocks - 1
    centred = [[value - fmean(row) for value in row] for row in rows]
    of_block = [median(column) for column in zip(*centred, strict=True)]
    variances: list[float] = []
    for row in centred:
        rest = [value - common for value, common in zip(row, of_block, strict=True)]
        middle = fmean(rest)
        variances.append(sum((value - middle) ** 2 for value in rest) / freedom)
    # The median of chi-squared over its degrees of freedom (Wilson and Hilferty, 1931). What is common to the sides
    # takes 1/sides of the variance with it.
    of_chi_squared = math.pow(1.0 - 2.0 / (9.0 * freedom), 3.0)
    return median(variances) / of_chi_squared * sides / (sides - 1)
