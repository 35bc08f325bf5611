"""How the baseline's speed changed over a run, from all its trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from autotune.intervals import INDIFFERENCE, t95
from autotune.records import Outcome, RunRecord

__all__ = ["Drift", "drift", "sentence", "warning"]

# Fewer trials leave no degree of freedom for an interval.
_TRIALS_AT_LEAST = 3


@dataclass(frozen=True)
class Drift:
    """ratio: times as fast at the end of the span as at its beginning, by a straight line, with its 95% interval.

    minutes: the span, from the first to the last of so many trials of the baseline that trained on images of another
    one, in measured time.
    """

    ratio: float
    low: float
    high: float
    minutes: float
    trials: int

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves out 1."""
        return self.low > 1.0 or self.high < 1.0

    @property
    def percent_per_minute(self) -> float:
        """Compounded: no speed falls by more than all of it."""
        return 100.0 * math.expm1(math.log(self.ratio) / self.minutes)


@dataclass(frozen=True)
class _Step:
    at_s: float
    log_speed: float
    images: int
    trial: int


def drift(record: RunRecord) -> Drift | None:
    """The drift of record's run; None where the baseline was timed too seldom, or never twice on the same images.

    Least squares of ln(speed) on time, within steps of the same images, whose sizes differ from batch to batch. The
    steps of one trial are alike, so that the error is taken over trials (Liang and Zeger 1986), with two degrees of
    freedom less than there are.
    """
    steps = _centred(_baseline_steps(record))
    spread = sum(step.at_s**2 for step in steps)
    numbers = sorted({step.trial for step in steps})
    if len(numbers) < _TRIALS_AT_LEAST or not spread:
        return None
    slope = sum(step.at_s * step.log_speed for step in steps) / spread
    scores = [
        sum(step.at_s * (step.log_speed - slope * step.at_s) for step in steps if step.trial == number)
        for number in numbers
    ]
    count = len(numbers)
    error = math.sqrt(sum(score**2 for score in scores) * count / (count - 1)) / spread
    times = list(accumulate(trial.duration_s for trial in record.trials))
    span_s = times[numbers[-1]] - times[numbers[0]]
    middle, half = slope * span_s, t95(count - 2) * error * span_s
    return Drift(math.exp(middle), math.exp(middle - half), math.exp(middle + half), span_s / 60.0, count)


def _baseline_steps(record: RunRecord) -> list[_Step]:
    in_turn = record.workload.images_in_turn if record.workload else 0
    # Measured time: a pause between the trials of a resumed run is none.
    times = accumulate(trial.duration_s for trial in record.trials)
    found, standing = [], {id(trial) for trial in record.standing}
    for place, (trial, at_s) in enumerate(zip(record.trials, times, strict=True)):
        if trial.config != record.baseline or trial.outcome is not Outcome.OK or id(trial) not in standing:
            continue
        for step, ms in zip(trial.steps, trial.step_ms, strict=False):
            # The images come in turn: this is the first of the step's.
            images = step * trial.config.images_per_step % in_turn if in_turn else step
            found.append(_Step(at_s, -math.log(ms), images, place))
    return found


def _centred(steps: Sequence[_Step]) -> list[_Step]:
    """The steps less the mean time and speed of those on the same images."""
    groups: dict[int, list[_Step]] = {}
    for step in steps:
        groups.setdefault(step.images, []).append(step)
    centred = []
    for own in groups.values():
        at_s, speed = fmean(step.at_s for step in own), fmean(step.log_speed for step in own)
        if len(own) > 1:
            centred += [_Step(each.at_s - at_s, each.log_speed - speed, each.images, each.trial) for each in own]
    return centred


def sentence(record: RunRecord) -> str | None:
    """The drift in words; None where it cannot be told."""
    found = drift(record)
    return _words(found) if found else None


def warning(record: RunRecord) -> str | None:
    """Where the device drifted by more than the zone of indifference, what that touches."""
    found = drift(record)
    if found is None or not found.is_shown or abs(math.log(found.ratio)) <= INDIFFERENCE:
        return None
    return (
        f"The device drifted: {_words(found)}. The race compares side by side, so that its verdict is free of it; "
        "ratios of the search are not."
    )


def _words(found: Drift) -> str:
    change, low, high = (f"{100.0 * (value - 1.0):+.1f}%" for value in (found.ratio, found.low, found.high))
    # Of less than a minute a rate would be extrapolated.
    long = found.minutes >= 1.0
    rate = f", {found.percent_per_minute:+.2f}% a minute" if long else ""
    span = f"{found.minutes:.1f} minutes" if long else f"{60.0 * found.minutes:.0f} s"
    return (
        f"the baseline's speed changed by {change} [{low}, {high}] over {span} of measuring"
        f"{rate}, by {found.trials} trials of it on the same images"
    )
