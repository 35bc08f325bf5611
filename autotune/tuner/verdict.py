"""From paired blocks to a verdict: ratio, 95% interval, and what to recommend."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from autotune.config import TrainingConfig
from autotune.intervals import INDIFFERENCE, blocks_enough, interval, is_shown
from autotune.records import Trial, Verdict, VerdictKind

__all__ = ["ENERGY", "MIN_BLOCKS", "SPEED", "Measure", "paired_log_energy", "paired_log_ratio", "verdict"]

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


def paired_log_energy(baseline: Trial, candidate: Trial) -> float:
    """ln(baseline joules / candidate joules), each a step's mean over the trial's timed steps.

    Raises ValueError where a trial has no energy."""
    if baseline.energy is None or candidate.energy is None:
        raise ValueError("a trial has no energy")
    theirs, ours = (trial.energy.joules / len(trial.step_ms) for trial in (baseline, candidate) if trial.energy)
    return math.log(theirs / ours)


@dataclass(frozen=True)
class Measure:
    """What a comparison is of. log_ratio: by how much a candidate beats the baseline in two trials of the same images,
    as ln. better, same, worse: what follows `1.20x [1.18, 1.22]` in a sentence of the verdict; none: what nothing is.
    """

    name: Literal["speed", "energy"]
    log_ratio: Callable[[Trial, Trial], float]
    better: str
    same: str
    worse: str
    none: str


SPEED = Measure(
    "speed",
    paired_log_ratio,
    better="faster than your baseline",
    same="the speed of your baseline",
    worse="its speed",
    none="faster than your baseline",
)
ENERGY = Measure(
    "energy",
    paired_log_energy,
    better="as many images per joule as your baseline",
    same="the images per joule of your baseline",
    worse="its images per joule",
    none="better than your baseline in images per joule",
)


def verdict(
    baseline: TrainingConfig,
    candidate: TrainingConfig,
    log_ratios: Sequence[float],
    *,
    remedy: str = "give a larger --budget",
    measure: Measure = SPEED,
    would_do: Callable[[int], str] | None = "about {} blocks would do".format,
) -> Verdict:
    """What the race's blocks say of the candidate against the baseline; remedy: what to do where they are too few.
    log_ratios: of the measure. would_do: how to get so many blocks, where the interval is too wide to tell; None where
    more would change nothing.

    A difference is real where it is no smaller than the zone of indifference and the 99% interval leaves out 1: a run
    whose configs are all alike should seldom find one. What is printed is the 95% interval.
    """
    if len(log_ratios) < MIN_BLOCKS:
        against = "any other setting" if candidate == baseline else candidate.label()
        return Verdict(
            kind=VerdictKind.NOT_MEASURED,
            candidate=candidate,
            measure=measure.name,
            log_ratios=tuple(log_ratios),
            sentence=f"No verdict: the budget left no time to compare {against} with your baseline; {remedy}.",
        )
    ratio, low, high = interval(log_ratios)
    kind = VerdictKind.NO_REAL_DIFFERENCE
    if is_shown(log_ratios) and ratio >= 1.0 + INDIFFERENCE:
        kind = VerdictKind.FASTER
    elif is_shown(log_ratios) and ratio <= 1.0 / (1.0 + INDIFFERENCE):
        kind = VerdictKind.SLOWER
    sentence = {
        VerdictKind.FASTER: f"{candidate.label()}: {_times(ratio, low, high)} {measure.better}.",
        VerdictKind.NO_REAL_DIFFERENCE: (
            f"No real difference: {candidate.label()} runs at {_times(ratio, low, high)} {measure.same}."
        ),
        VerdictKind.SLOWER: (
            f"Nothing raced is {measure.none}: {candidate.label()}, which looked best, runs at "
            f"{_times(ratio, low, high)} {measure.worse}."
        ),
    }[kind]
    if kind is VerdictKind.NO_REAL_DIFFERENCE and would_do is not None:
        enough = blocks_enough(log_ratios, at_99=low > 1.0 or high < 1.0)
        if enough is not None:
            sentence = _not_sure(candidate, (ratio, low, high), measure, would_do(enough))
    if candidate == baseline:
        sentence = f"No real difference: your baseline against itself gave {_times(ratio, low, high)}."
        if kind is not VerdictKind.NO_REAL_DIFFERENCE:
            sentence += " The interval leaves out 1: the machine is less steady than the race supposes."
        kind = VerdictKind.NO_REAL_DIFFERENCE
    return Verdict(
        kind=kind,
        candidate=candidate,
        measure=measure.name,
        ratio=ratio,
        low=low,
        high=high,
        log_ratios=tuple(log_ratios),
        sentence=sentence,
    )


def _not_sure(
    candidate: TrainingConfig,
    interval: tuple[float, float, float],
    measure: Measure,
    would_do: str,
) -> str:
    """An interval that holds both a real difference and none, and what would narrow it."""
    ratio, low, high = interval
    times = f"{candidate.label()}: {_times(ratio, low, high)} {measure.same}"
    if low > 1.0 or high < 1.0:
        return f"Not sure: {times}, but a real difference must show at 99%, and this does not; {would_do}."
    if abs(math.log(ratio)) < math.log1p(INDIFFERENCE):
        return f"No real difference: {times}. To tell one of {INDIFFERENCE:.0%}, {would_do}."
    return f"Not sure: {times}, and the interval is too wide to tell; {would_do}."


def _times(ratio: float, low: float, high: float) -> str:
    return f"{ratio:.2f}x [{low:.2f}, {high:.2f}]"
