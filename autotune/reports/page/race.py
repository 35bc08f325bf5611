"""The race as charts need it: the heats between candidates, and the final against the baseline, block by block."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from autotune.records import RunRecord, Trial
from autotune.reports.heats_note import heats_by_block
from autotune.reports.page.embedding import rounded

__all__ = ["Heat", "Heats", "Race", "heats", "race"]

_LARGEST_LOG = 700.0
_TIMES = {"speed": "times as fast", "energy": "times as many images/J"}


@dataclass(frozen=True)
class Race:
    """Times as much of something as the baseline: ratio with its 95% interval, and of each block."""

    of: str
    setting: str
    ratio: float | None
    low: float | None
    high: float | None
    blocks: tuple[float | None, ...]


@dataclass(frozen=True)
class Heat:
    """One config in the heats. blocks: times as much as the reference in each block; None where it did not take part
    or failed."""

    setting: str
    blocks: tuple[float | None, ...]


@dataclass(frozen=True)
class Heats:
    """The candidates beside each other: how many times as much of something as the reference, who met the baseline.

    The reference itself is left out.
    """

    of: str
    reference: str
    sides: tuple[Heat, ...]


def race(record: RunRecord) -> Race | None:
    verdict = record.recommendation.verdict if record.recommendation else None
    if verdict is None or not verdict.log_ratios:
        return None
    # A damaged record may hold what no float can.
    blocks = tuple(rounded(math.exp(ratio)) if abs(ratio) < _LARGEST_LOG else None for ratio in verdict.log_ratios)
    ratio, low, high = (rounded(value) for value in (verdict.ratio, verdict.low, verdict.high))
    return Race(_TIMES[verdict.measure], verdict.candidate.label(), ratio, low, high, blocks)


def heats(record: RunRecord) -> Heats | None:
    """None where there were none, or none of them holds a pair of sides to compare."""
    verdict = record.recommendation.verdict if record.recommendation else None
    blocks = heats_by_block(record)
    appearances = Counter(config for block in blocks for config in block)
    if len(appearances) < 2:
        return None
    reference = verdict.candidate if verdict and verdict.candidate in appearances else appearances.most_common(1)[0][0]
    energy = verdict is not None and verdict.measure == "energy"
    sides = (
        Heat(config.label(), tuple(_times_as_good(block.get(reference), block.get(config), energy) for block in blocks))
        for config in appearances
        if config != reference
    )
    of = _TIMES["energy" if energy else "speed"]
    return Heats(of, reference.label(), tuple(sides))


def _times_as_good(reference: Trial | None, side: Trial | None, energy: bool) -> float | None:
    """Over the steps that both timed: the same images."""
    if reference is None or side is None:
        return None
    if energy:
        theirs, ours = reference.images_per_joule, side.images_per_joule
        return rounded(ours / theirs) if theirs and ours else None
    times = [dict(zip(trial.steps, trial.step_ms, strict=False)) for trial in (reference, side)]
    both = times[0].keys() & times[1].keys()
    return rounded(sum(times[0][step] for step in both) / sum(times[1][step] for step in both)) if both else None
