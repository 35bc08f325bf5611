"""From paired blocks to a verdict: ratio, 95% interval, and what to recommend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from autotune.config import TrainingConfig
from autotune.records import Trial, Verdict, VerdictKind

__all__ = ["INDIFFERENCE", "MIN_BLOCKS", "interval", "paired_log_ratio", "preference", "recommended", "verdict"]

# Differences inside this zone are ties.
INDIFFERENCE = 0.01
# Fewer blocks than this give no interval worth printing: Student's t for two blocks is 12.7.
MIN_BLOCKS = 3
# Peak memory within this share of each other counts as equal.
_SAME_MEMORY = 0.05

# Two-sided 95% quantiles of Student's t, by degrees of freedom from 1 (any statistics textbook's table).
_T95: tuple[float, ...] = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)
_T95 += (2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)
_T95_BEYOND = 1.960


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


def interval(log_ratios: Sequence[float]) -> tuple[float, float, float]:
    """(ratio, low, high): geometric mean and 95% interval by Student's t over blocks. Raises ValueError below two."""
    if len(log_ratios) < 2:
        raise ValueError("an interval needs at least two blocks")
    freedom = len(log_ratios) - 1
    t95 = _T95[freedom - 1] if freedom <= len(_T95) else _T95_BEYOND
    half = t95 * stdev(log_ratios) / math.sqrt(len(log_ratios))
    middle = mean(log_ratios)
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def verdict(
    baseline: TrainingConfig,
    candidate: TrainingConfig,
    log_ratios: Sequence[float],
    *,
    remedy: str = "give a larger --budget",
) -> Verdict:
    """What the race's blocks say of the candidate against the baseline; remedy: what to do where they are too few."""
    if len(log_ratios) < MIN_BLOCKS:
        compared = "any other setting" if candidate == baseline else candidate.label()
        return Verdict(
            kind=VerdictKind.NOT_MEASURED,
            candidate=candidate,
            log_ratios=tuple(log_ratios),
            sentence=f"No verdict: the budget left no time to compare {compared} with your baseline; {remedy}.",
        )
    ratio, low, high = interval(log_ratios)
    kind = VerdictKind.NO_REAL_DIFFERENCE
    if low > 1.0 and ratio >= 1.0 + INDIFFERENCE:
        kind = VerdictKind.FASTER
    elif high < 1.0 and ratio <= 1.0 / (1.0 + INDIFFERENCE):
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


def recommended(
    result: Verdict, baseline: TrainingConfig, memory_bytes: Mapping[TrainingConfig, int | None]
) -> TrainingConfig:
    """The config to train with: the candidate where it is faster, or where it ties and is preferable otherwise.

    The candidate takes part in a tie only where its interval excludes a loss larger than the indifference zone;
    otherwise the baseline stands.
    """
    if result.kind is VerdictKind.FASTER:
        return result.candidate
    no_loss = result.low is not None and result.low >= 1.0 / (1.0 + INDIFFERENCE)
    if result.kind is not VerdictKind.NO_REAL_DIFFERENCE or not no_loss:
        return baseline
    # min() takes the first of equals: the baseline.
    return min((baseline, result.candidate), key=lambda config: _preference(config, memory_bytes.get(config)))


def preference(trial: Trial) -> tuple[object, ...]:
    """A sort key among configs of equal speed: safer numerics first, then less memory, then the simpler setting."""
    return _preference(trial.config, trial.peak_memory_bytes)


def _preference(config: TrainingConfig, memory_bytes: int | None) -> tuple[object, ...]:
    # Memory in steps of 5%: smaller differences are the allocator's.
    steps = round(math.log(memory_bytes) / _SAME_MEMORY) if memory_bytes else 0
    caution = config.caution()
    return caution[0], steps, caution


def _times(ratio: float, low: float, high: float) -> str:
    return f"{ratio:.2f}x [{low:.2f}, {high:.2f}]"
