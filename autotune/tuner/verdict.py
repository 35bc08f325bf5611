"""From paired blocks to a verdict: ratio, 95% interval, and what to recommend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from autotune.config import TrainingConfig
from autotune.intervals import INDIFFERENCE, interval
from autotune.records import Trial, Verdict, VerdictKind

__all__ = ["INDIFFERENCE", "MIN_BLOCKS", "paired_log_ratio", "preference", "recommended", "verdict"]

# Fewer blocks than this give no interval worth printing: Student's t for two blocks is 12.7.
MIN_BLOCKS = 3
# Peak memory within this share of each other counts as equal.
_SAME_MEMORY = 0.05


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
