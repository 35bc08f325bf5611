"""95% intervals of ratios, by Student's t over blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev, variance

__all__ = ["INDIFFERENCE", "blocks_enough", "interval", "interval_of_two", "is_shown", "t95"]

# Differences inside this zone are ties.
INDIFFERENCE = 0.01

# Two-sided quantiles of Student's t, by degrees of freedom from 1 (any textbook of statistics). Beyond the table the
# last value errs towards caution: a race has at most twelve blocks.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_T99 = (63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012, 2.977, 2.947)


def interval(log_ratios: Sequence[float], *, at_99: bool = False) -> tuple[float, float, float]:
    """(ratio, low, high): geometric mean and 95% interval by Student's t over blocks, or 99%.

    Raises ValueError below two."""
    if len(log_ratios) < 2:
        raise ValueError("an interval needs at least two blocks")
    half = _t(len(log_ratios) - 1, _T99 if at_99 else _T95) * stdev(log_ratios) / math.sqrt(len(log_ratios))
    middle = mean(log_ratios)
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def is_shown(log_ratios: Sequence[float]) -> bool:
    """Whether a difference shows at 99%: that interval leaves out 1. Raises ValueError below two."""
    _, low, high = interval(log_ratios, at_99=True)
    return not low <= 1.0 <= high


def interval_of_two(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """(ratio, low, high) of two sides whose blocks are not pairs: logarithms of their speeds, one per block.

    Welch's interval, which lets the sides differ in spread. Raises ValueError below two blocks on a side.
    """
    if min(len(ours), len(theirs)) < 2:
        raise ValueError("an interval needs at least two blocks on each side")
    parts = [variance(side) / len(side) for side in (ours, theirs)]
    error = math.sqrt(sum(parts))
    middle = mean(ours) - mean(theirs)
    if not error:
        return math.exp(middle), math.exp(middle), math.exp(middle)
    # Welch and Satterthwaite's degrees of freedom, rounded down: the interval is rather too wide.
    freedom = sum(parts) ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (ours, theirs), strict=True))
    half = _t(max(1, math.floor(freedom)), _T95) * error
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def t95(freedom: int) -> float:
    """The two-sided 95% quantile of Student's t."""
    return _t(freedom, _T95)


def blocks_enough(log_ratios: Sequence[float], *, at_99: bool = False) -> int | None:
    """How many blocks would tell, if their mean and spread stayed as they are: the fewest whose interval is no wider to
    either side than the mean is far from 0, or than the zone of indifference where that is larger.

    The standard error falls with the root of the number of blocks. None where these do tell already.
    Raises ValueError below two.
    """
    if len(log_ratios) < 2:
        raise ValueError("a spread needs at least two blocks")
    table, spread = _T99 if at_99 else _T95, stdev(log_ratios)
    allowed = max(abs(mean(log_ratios)), math.log1p(INDIFFERENCE))

    def half(blocks: int) -> float:
        return _t(blocks - 1, table) * spread / math.sqrt(blocks)

    if half(len(log_ratios)) <= allowed:
        return None
    # Beyond the table of t nothing but the root changes.
    for blocks in range(len(log_ratios) + 1, len(table) + 2):
        if half(blocks) <= allowed:
            return blocks
    return math.ceil((table[-1] * spread / allowed) ** 2)


def _t(freedom: int, table: Sequence[float]) -> float:
    return table[min(freedom, len(table)) - 1]
