"""What the search knows of its configs' speeds: the timed trials, by how much each beats the baseline, who leads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from autotune.config import TrainingConfig
from autotune.records import Outcome, Trial
from autotune.tuner.cell import Cell
from autotune.tuner.objective import Objective
from autotune.tuner.spread import robust_variance

__all__ = ["Standings"]

# What was timed in one process says this much about the speed, as ln of a ratio; no more than so many standard errors.
_CLOSE, _CLOSE_ERRORS = 0.04, 3.0


class Standings:
    """limit_bytes: what a recommended config may take, None where there is no limit. The baseline comes first."""

    def __init__(self, objective: Objective, limit_bytes: float | None) -> None:
        self.trials: dict[TrainingConfig, Trial] = {}
        self.heats: list[dict[TrainingConfig, Trial]] = []  # the sides of each block
        self.unsound: set[object] = set()  # arithmetic
        self.unchecked: set[object] = set()  # arithmetic that may be sound
        self.unraceable: set[TrainingConfig] = set()
        self._deviation: float | None = None
        self._gains: dict[TrainingConfig, float] = {}
        self._objective = objective
        self._limit_bytes = limit_bytes

    def begin(self, baseline: Trial) -> None:
        """With the baseline, which all gains refer to."""
        self.baseline = baseline
        self.take(baseline)

    @property
    def usual_worst_case_ms(self) -> float:
        """What the worst case takes the baseline; 0 until it has run."""
        return (self.trials and self.baseline.worst_case_ms) or 0.0

    @property
    def next_step(self) -> int:
        """The first that no trial has timed, nor a side of a heat."""
        timed = [*self.trials.values(), *(side for sides in self.heats for side in sides.values())]
        return max((trial.steps[-1] + 1 for trial in timed if trial.steps), default=0)

    def take(self, trial: Trial) -> None:
        """A config's first trial, or one that stands for it from now on."""
        self.trials[trial.config] = trial
        self._deviation = None
        self._gains.clear()

    def begin_heat(self) -> None:
        """A block of heats, which take_heat() adds the sides of."""
        self.heats.append({})

    def take_heat(self, trial: Trial) -> None:
        """A side of the block; one that fails in it has failed, whatever it did before."""
        if trial.outcome is Outcome.OK:
            self.heats[-1][trial.config] = trial
            self._gains.clear()
            return
        for sides in self.heats:
            sides.pop(trial.config, None)
        self.take(trial)

    def has_failed(self, config: TrainingConfig) -> bool:
        """Whether its trial did not end well; not where it had none."""
        return config in self.trials and self.trials[config].outcome is not Outcome.OK

    def gain(self, trial: Trial) -> float:
        """ln of the speed over the baseline's, on the images that both timed; of images per joule for energy's sake.

        A block of heats, whose images the baseline has not timed, compares those that took part in it: on average they
        are held to be as fast in it as before it, so that luck which all of them were chosen for stays in their gains.
        """
        if (known := self._gains.get(trial.config)) is None:
            known = self._gains[trial.config] = self._gain_before(trial, len(self.heats))
        return known

    def _gain_before(self, trial: Trial, block: int) -> float:
        """Its gain by the blocks before this one: their mean, or what its first trial gave where it was in none."""
        log_ratio = self._objective.measure.log_ratio
        found = []
        for number, sides in enumerate(self.heats[:block]):
            if trial.config in sides:
                first = next(iter(sides.values()))
                level = fmean(
                    self._gain_before(self.trials[config], number) - log_ratio(first, side)
                    for config, side in sides.items()
                )
                found.append(level + log_ratio(first, sides[trial.config]))
        return fmean(found) if found else log_ratio(self.baseline, trial)

    @property
    def deviation(self) -> float:
        """The standard deviation of a step's time beside those of other configs for the same images, as ln. Where only
        the baseline has run, what its images differ by counts too."""
        if self._deviation is None:
            self._deviation = self._find_deviation()
        return self._deviation

    def _find_deviation(self) -> float:
        same = [each for each in self.trials.values() if each.steps == self.baseline.steps]
        rows = [[math.log(ms) for ms in each.step_ms] for each in same]
        if len(self.baseline.steps) == 1:
            # The last warm-up step trains on the same images.
            rows = [[math.log(each.warmup_ms[-1]), math.log(each.step_ms[0])] for each in same if each.warmup_ms]
        if len(rows) > 1:
            return math.sqrt(robust_variance(rows))
        return stdev(rows[0]) if rows else 0.0

    @property
    def trial_error(self) -> float:
        """That of two trials with as many steps as the baseline's."""
        return self.error(self.baseline, self.baseline)

    def error(self, one: Trial, other: Trial) -> float:
        """The standard error of how much one gains on another, from their steps alone: processes differ besides."""
        of_steps = self.deviation * math.sqrt(1.0 / self._steps(one) + 1.0 / self._steps(other))
        return max(of_steps, self._objective.error)

    def _steps(self, trial: Trial) -> int:
        in_heats = [sides[trial.config] for sides in self.heats if trial.config in sides]
        return sum(len(each.step_ms) for each in in_heats or [trial])

    def fits(self, trial: Trial) -> bool:
        """Whether it leaves the margin of memory."""
        return self._limit_bytes is None or (trial.peak_memory_bytes or 0) <= self._limit_bytes

    def is_usable(self, trial: Trial) -> bool:
        """Whether it gave a time and leaves the margin of memory."""
        may_race = trial.config.arithmetic not in self.unsound | self.unchecked and trial.config not in self.unraceable
        return trial.outcome is Outcome.OK and bool(trial.step_ms) and self.fits(trial) and may_race

    def worth(self, trial: Trial) -> float:
        """Its gain; -inf where it is not usable."""
        return self.gain(trial) if self.is_usable(trial) else -math.inf

    def usable(self) -> list[Trial]:
        """All such trials, and the baseline's: it is the user's own, whatever it takes."""
        return [trial for trial in self.trials.values() if trial is self.baseline or self.is_usable(trial)]

    @property
    def leader(self) -> Trial:
        return max(self.usable(), key=self.gain)

    @property
    def lead(self) -> float:
        """The leader's gain."""
        return self.gain(self.leader)

    def of(self, cell: Cell) -> list[Trial]:
        return [each for each in self.usable() if Cell(each.config) == cell]

    def gain_of(self, cell: Cell) -> float:
        """That of its fastest config; -inf where none is usable."""
        return max(map(self.gain, self.of(cell)), default=-math.inf)

    def close(self) -> list[Trial]:
        """The trials whose speed is close to the fastest's, the fastest first; the baseline races in any case."""
        return self.near([trial for trial in self.usable() if trial is not self.baseline])

    def near(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those of some trials that are close to the fastest of them, the fastest first."""
        if not trials:
            return []
        best = max(trials, key=self.gain)
        within = [each for each in trials if self._is_close(each, best)]
        return sorted(within, key=self.gain, reverse=True)

    def _is_close(self, trial: Trial, best: Trial) -> bool:
        return self.gain(best) - self.gain(trial) <= max(_CLOSE, _CLOSE_ERRORS * self.error(trial, best))

    def racers(self, number: int) -> list[TrainingConfig]:
        """So many at most, the one to recommend if all that is close stays so first."""
        close = self.close()
        if not close:
            return []
        tied = [trial for trial in close if self.gain(trial) >= self.gain(close[0]) - self._objective.zone]
        preferred = min(tied, key=self._objective.preference)
        others = [trial for trial in close if trial is not preferred]
        return [trial.config for trial in [preferred, *others][:number]]
