"""The configs that none beats in speed, memory and energy at once (Pareto's front)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from autotune.config import TrainingConfig
from autotune.intervals import INDIFFERENCE
from autotune.records import Outcome, RunRecord, Trial
from autotune.reports.si import GIB, gib

__all__ = ["HEADERS", "Point", "front", "heading", "points", "rows", "without_energy"]

# One config's peaks on a CPU differ by as much between trials.
_SAME_MEMORY = 0.02

HEADERS = ("setting", "images/s", "peak GiB", "images/J", "")


@dataclass(frozen=True)
class Point:
    """A config as it was measured.

    images_per_second: median over the steps of the search, or of the race where the search timed none.
    peak_memory_bytes: the highest of its trials'. usual_peak_bytes: their median, by which configs are compared, since
    of more trials the highest is higher by chance; the same where it is None.
    images_per_joule: over all its trials that have an energy; None where none has. energy_error: by what share it may
    be wrong, since energy counters move in steps.
    """

    config: TrainingConfig
    images_per_second: float
    peak_memory_bytes: int
    images_per_joule: float | None = None
    energy_error: float = 0.0
    usual_peak_bytes: float | None = None

    def beats(self, other: Point) -> bool:
        """At least as good in all, and better in one. Speed counts where it differs by more than the zone of
        indifference, memory by more than 2%, energy by more than it may be wrong."""
        better = (self._faster(other), self._smaller(other), self._thriftier(other))
        worse = (other._faster(self), other._smaller(self), other._thriftier(self))
        return any(better) and not any(worse)

    def _faster(self, other: Point) -> bool:
        return self.images_per_second > (1.0 + INDIFFERENCE) * other.images_per_second

    def _smaller(self, other: Point) -> bool:
        ours, theirs = (each.usual_peak_bytes or each.peak_memory_bytes for each in (self, other))
        return (1.0 + _SAME_MEMORY) * ours < theirs

    def _thriftier(self, other: Point) -> bool:
        if self.images_per_joule is None or other.images_per_joule is None:
            return False
        allowance = 1.0 + self.energy_error + other.energy_error
        return self.images_per_joule > allowance * other.images_per_joule


def points(record: RunRecord) -> list[Point]:
    """One for each config that has a time and a peak, in the order in which they were first tried."""
    trials: dict[TrainingConfig, list[Trial]] = {}
    for trial in record.standing:
        trials.setdefault(trial.config, []).append(trial)
    return [point for config, own in trials.items() if (point := _point(config, own)) is not None]


def _point(config: TrainingConfig, trials: Sequence[Trial]) -> Point | None:
    timed = [trial for trial in trials if trial.outcome is Outcome.OK and trial.step_ms]
    searched = [trial for trial in timed if not trial.stage.is_race] or timed
    speeds = [speed for trial in searched for speed in trial.images_per_second]
    peaks = [trial.peak_memory_bytes for trial in trials if trial.peak_memory_bytes is not None]
    if not speeds or not peaks:
        return None
    point = Point(config, median(speeds), max(peaks), usual_peak_bytes=median(peaks))
    energies = [(trial.energy, len(trial.step_ms)) for trial in timed if trial.energy]
    if not energies:
        return point
    joules = sum(energy.joules for energy, _ in energies)
    images = config.images_per_step * sum(steps for _, steps in energies)
    # The trials' errors are independent of each other.
    wrong_joules = math.hypot(*(energy.joules / energy.window_s * energy.resolution_s for energy, _ in energies))
    return replace(point, images_per_joule=images / joules, energy_error=wrong_joules / joules)


def front(measured: Sequence[Point]) -> list[Point]:
    """Those that no other beats, the fastest first. One that is beaten beats no other any more: where three are within
    the noise of each other, each may beat the next, and one must be left."""
    unbeaten = sorted(measured, key=lambda each: -each.images_per_second)
    for each in reversed(tuple(unbeaten)):
        if any(other.beats(each) for other in unbeaten):
            unbeaten.remove(each)
    return unbeaten


def without_energy(measured: Sequence[Point]) -> list[Point]:
    """The same, to be compared in speed and memory alone."""
    return [replace(each, images_per_joule=None) for each in measured]


def heading(found: Sequence[Point]) -> str:
    """What the table shows."""
    energy = any(each.images_per_joule is not None for each in found)
    return (
        f"Beaten by no other in {'speed, memory and energy' if energy else 'speed and memory'} at once, by the search"
    )


def rows(record: RunRecord, found: Sequence[Point]) -> list[list[str]]:
    """Cells under HEADERS; of energy where any config has one."""
    energy = any(each.images_per_joule is not None for each in found)
    recommended = record.recommendation.config if record.recommendation else None
    return [
        [
            each.config.label(),
            f"{each.images_per_second:.4g}",
            gib(each.peak_memory_bytes / GIB),
            _joules(each) if energy else "",
            "; ".join(["baseline"] * (each.config == record.baseline) + ["recommended"] * (each.config == recommended)),
        ]
        for each in found
    ]


def _joules(point: Point) -> str:
    if point.images_per_joule is None:
        return "not measured"
    return f"{point.images_per_joule:.3g} (within {max(0.01, point.energy_error):.0%})"
