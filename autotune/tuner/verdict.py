"""From paired blocks to a verdict: ratio, 95% interval, and what to recommend."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.config import TrainingConfig
from autotune.intervals import INDIFFERENCE, interval
from autotune.records import Trial, Verdict, VerdictKind

__all__ = ["MIN_BLOCKS", "paired_log_ratio", "verdict"]

# Fewer blocks than this give no interval worth printing: Student's t for two blocks is 12.7.
MIN_BLOCKS = 3


def paired_log_ratio(baseline: Trial, candidate: Trial) -> float:
    """ln(baseline time / candidate time) over the steps that both timed: the same images in the same order.

    Sums of times, not means of ratios: the ratio of the two throughputs over those images.
    Raises ValueError where the two have no step in common.
    """
    theirs = dict(zip(baseline.steps, baseline.step_ms, strict=True))
    ours = dict(zip(candidate.steps, candidate.step_ms, strict=True))
    both = theirs.keys() & ours.keys()
    if not both:
        raise ValueError("the two trials timed no step in common")
    return math.log(sum(theirs[step] for step in both) / sum(ours[step] for step in both))


def verdict(
    baseline: TrainingConfig,
    candidate: TrainingConfig,
    log_ratios: Sequence[float],
    *,
    compared: int = 1,
    remedy: str = "give a larger --budget",
) -> Verdict:
    """What the race's blocks say of the candidate against the baseline; remedy: what to do where they are too few.

    compared: among how many candidates this one won. Where there were others, a real difference must show at 99%
    (Bonferroni's correction for up to five comparisons): the best of many looks faster than it is.
    """
    if len(log_ratios) < MIN_BLOCKS:
        against = "any other setting" if candidate == baseline else candidate.label()
        return Verdict(
            kind=VerdictKind.NOT_MEASURED,
            candidate=candidate,
            log_ratios=tuple(log_ratios),
            sentence=f"No verdict: the budget left no time to compare {against} with your baseline; {remedy}.",
        )
    ratio, low, high = interval(log_ratios)
    _, surely_above, surely_below = interval(log_ratios, at_99=compared > 1)
    kind = VerdictKind.NO_REAL_DIFFERENCE
    if surely_above > 1.0 and ratio >= 1.0 + INDIFFERENCE:
        kind = VerdictKind.FASTER
    elif surely_below < 1.0 and ratio <= 1.0 / (1.0 + INDIFFERENCE):
        kind = VerdictKind.SLOWER
    sentence = {
        VerdictKind.FASTER: f"{candidate.label()}: {_times(ratio, low, high)} faster than your baseline.",
        VerdictKind.NO_REAL_DIFFERENCE: (
            f"No real difference: {candidate.label()} runs at {_times(ratio, low, high)} the speed of your baseline."
        ),
        VerdictKind.SLOWER: (
            f"Nothing measured is faster than your baseline: the next best, {candidate.label()}, runs at "
            f"{_times(ratio, low, high)} its speed."
        ),
    }[kind]
    if kind is VerdictKind.NO_REAL_DIFFERENCE and low > 1.0 and ratio >= 1.0 + INDIFFERENCE:
        sentence = (
            f"Not sure: {candidate.label()} looks {_times(ratio, low, high)} faster than your baseline, but as the "
            f"best of {compared} it must show at 99%, and does not; a larger --budget may settle it."
        )
    if candidate == baseline:
        sentence = f"No real difference: your baseline against itself gave {_times(ratio, low, high)}."
        if kind is not VerdictKind.NO_REAL_DIFFERENCE:
            sentence += " The interval leaves out 1: the machine is less steady than the race supposes."
        kind = VerdictKind.NO_REAL_DIFFERENCE
    return Verdict(
        kind=kind,
        candidate=candidate,
        ratio=ratio,
        low=low,
        high=high,
        log_ratios=tuple(log_ratios),
        sentence=sentence,
    )


def _times(ratio: float, low: float, high: float) -> str:
    return f"{ratio:.2f}x [{low:.2f}, {high:.2f}]"
