"""The search's budget: what a trial and a race take here, what trials must leave, what would have been enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from autotune.config import TrainingConfig
from autotune.records import Outcome, Trial
from autotune.tuner.bench import Bench
from autotune.tuner.objective import Objective
from autotune.tuner.race import Race
from autotune.tuner.side import Side
from autotune.tuner.standings import Standings

__all__ = ["STEPS_AT_LEAST", "Budget"]

# Timed steps of a trial: what fits into this share of the budget, within these bounds.
_TRIAL_SHARE = 0.04
STEPS_AT_LEAST, _STEPS_AT_MOST = 1, 4
# The race's share of the budget.
_RACE_SHARE = 0.35
# No answer for this many times the baseline's slowest step: a timeout.
_STALLED = 3.0
_STALLED_AT_LEAST_S = {"cpu": 20.0, "cuda": 60.0}


class Budget:
    """total_s: all of it. steps: which a trial times; timeout_s: the longest that a step may take. Until the baseline
    has run, how long a step takes is not known."""

    def __init__(self, bench: Bench, standings: Standings, objective: Objective) -> None:
        self.total_s = bench.remaining_s
        self.timeout_s = max(60.0, bench.remaining_s)
        self.steps = range(STEPS_AT_LEAST)
        self._bench = bench
        self._standings = standings
        self._objective = objective
        self._overheads_s: dict[TrainingConfig, float] = {}

    def set_pace(self, first: Trial) -> None:
        """By the baseline's first trial: as many steps as there is room for."""
        self._step_s = median(first.step_ms) / 1000.0
        slowest_s = max(*first.step_ms, *first.warmup_ms, first.worst_case_ms or 0.0) / 1000.0
        self.timeout_s = max(_STALLED_AT_LEAST_S[self._bench.circumstances.device_type], _STALLED * slowest_s)
        affordable = round(_TRIAL_SHARE * self.total_s / self._step_s)
        wanted = min(_STEPS_AT_MOST, max(STEPS_AT_LEAST, affordable))
        self.steps = range(max(wanted, math.ceil(self._objective.window_s / self._step_s)))

    def take(self, trial: Trial) -> None:
        """Learn what a child takes before its first timed step."""
        if trial.outcome is Outcome.OK and trial.warmup_ms:
            self._overheads_s[trial.config] = trial.duration_s - sum(trial.step_ms) / 1000.0

    @property
    def _fresh_s(self) -> float:
        """What a fresh child takes before its first timed step: its start, the worst case, the warm-up.

        The baseline's may hold the first start of all, which also reads libraries from disk: it counts while it is
        alone.
        """
        baseline = self._standings.baseline.config
        others = [taken_s for config, taken_s in self._overheads_s.items() if config != baseline]
        return median(others or self._overheads_s.values())

    def affords_trial(self, racers: Sequence[TrainingConfig]) -> bool:
        """Whether one more leaves these a race."""
        expected_s = self._fresh_s + len(self.steps) * self._step_s
        return self._bench.remaining_s >= expected_s + self.for_race_s(racers)

    def for_race_s(self, racers: Sequence[TrainingConfig]) -> float:
        """What trials leave for a race of these, or of the baseline alone."""
        race = self.race(racers)
        return max(race.least_s(), min(_RACE_SHARE * self.total_s, race.most_s()))

    def race(self, candidates: Sequence[TrainingConfig]) -> Race:
        """A race of these against the baseline, by what their trials took; of the baseline alone where none are."""
        baseline = self._standings.baseline.config
        sides = [
            Side(
                config,
                median(self._standings.trials[config].step_ms) / 1000.0,
                self._overheads_s.get(config, self._fresh_s),
                self._objective.preference(self._standings.trials[config]),
            )
            for config in (baseline, *candidates)
        ]
        return Race(
            self._bench,
            sides[0],
            sides[1:],
            self.timeout_s,
            tie=self._objective.tie,
            measure=self._objective.measure,
            side_s=self._objective.window_s,
        )

    def remedy(self) -> str:
        """A budget that would do for a first comparison: two trials and a race, each with its share."""
        trials_s = 2.0 * (max(self._overheads_s.values()) + (len(self.steps) + 2) * self._step_s)
        enough_s = math.ceil(1.2 * max(trials_s + self.race([]).least_s(), trials_s / (1.0 - _RACE_SHARE)))
        return f"--budget {enough_s}s would do for a first comparison"

    def enough_s(self, race_s: float, spent_s: float, *, cut_short: bool) -> int:
        """A budget that leaves the race so much, if the search takes what it took; one that was cut short takes all but
        the race's share."""
        return math.ceil(1.1 * max(spent_s + race_s, race_s / _RACE_SHARE if cut_short else 0.0))
