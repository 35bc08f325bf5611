"""The search's budget: what a trial and a race take here, what trials must leave, what would have been enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, median

from autotune.config import SETTINGS, TrainingConfig
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.bench import Bench
from autotune.tuner.numerics import STEPS
from autotune.tuner.objective import Objective
from autotune.tuner.race import Race
from autotune.tuner.side import Side
from autotune.tuner.standings import Standings

__all__ = ["STEPS_AT_LEAST", "Budget"]

# Timed steps of a trial: what fits into this share of the budget, within these bounds.
_TRIAL_SHARE = 0.04
STEPS_AT_LEAST, _STEPS_AT_MOST = 1, 4
# Where steps are short beside what precedes them, they are timed for this share of that, so many at most.
_TIMED_SHARE, _MANY_STEPS = 0.25, 16
# The race's share of the budget.
_RACE_SHARE = 0.35
# Trials take up to so many times what they are expected to.
_SURELY = 1.2
# Steps of a start that a check of the numerics does without.
_WARM_UP_STEPS = 3
# A start that takes this many times the baseline's may be left out of the race for that.
_COSTLY_TIMES = 3.0
# No answer for this many times the baseline's slowest step: a timeout.
_STALLED = 3.0
_STALLED_AT_LEAST_S = {"cpu": 20.0, "cuda": 60.0}
# Nor is there, before the race, for longer than the race's reserve leaves time; but for no less than this.
_WAITED_FOR_AT_LEAST_S = 20.0


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
        self._stalled: set[TrainingConfig] = set()

    def set_pace(self, first: Trial) -> None:
        """By the baseline's first trial: as many steps as there is room for."""
        self._step_s = median(first.step_ms) / 1000.0
        stalled_s = _STALLED * max(*first.step_ms, *first.warmup_ms, first.worst_case_ms or 0.0) / 1000.0
        self._waited_for_s = max(_WAITED_FOR_AT_LEAST_S, stalled_s)
        self.timeout_s = max(_STALLED_AT_LEAST_S[self._bench.circumstances.device_type], stalled_s)
        self._before_s = first.duration_s - sum(first.step_ms) / 1000.0
        self.steps = range(self._steps_within(self.total_s))

    def _steps_within(self, total_s: float) -> int:
        """How many steps a trial times within a budget of so much."""
        affordable = round(min(_TRIAL_SHARE * total_s / self._step_s, 1e6))
        worthwhile = min(_MANY_STEPS, max(_STEPS_AT_MOST, math.ceil(_TIMED_SHARE * self._before_s / self._step_s)))
        counts = range(STEPS_AT_LEAST, worthwhile + 1)
        wanted = max((each for each in counts if self._in_all(each) <= affordable), default=STEPS_AT_LEAST)
        return max(wanted, math.ceil(self._objective.window_s / self._step_s))

    def take(self, trial: Trial) -> None:
        """Learn what a child takes before its first timed step."""
        if trial.outcome is Outcome.OK and trial.warmup_ms:
            # A rehearsed step counts as a timed one: what it took beyond that belongs to the start.
            a_step_s = fmean(trial.step_ms) / 1000.0 if trial.step_ms else 0.0
            taken_s = trial.duration_s - self._in_all(len(trial.step_ms)) * a_step_s
            self._overheads_s[trial.config] = max(0.0, taken_s)
            if trial.has_stalled and (trial.config.channels_last or trial.config.cudnn_benchmark):
                self._stalled.add(trial.config)
        elif trial.outcome is Outcome.OK and trial.stage is Stage.MEMORY and self._standings.trials:
            # A probe compiles as a trial does; the first batch, twice, is what it leaves out.
            self._overheads_s.setdefault(trial.config, trial.duration_s + 2 * self._step_s)

    def _in_all(self, steps: int) -> int:
        """Steps of a fresh child that times so many, but for its warm-up."""
        return steps + self._bench.rehearsals(steps)

    @property
    def _fresh_s(self) -> float:
        """What a fresh child takes before its first timed step: its start, the worst case, the warm-up.

        The baseline's may hold the first start of all, which also reads libraries from disk: it counts while it is
        alone.
        """
        baseline = self._standings.baseline.config
        others = [taken_s for config, taken_s in self._overheads_s.items() if config != baseline]
        return median(others or self._overheads_s.values())

    def start_s(self, config: TrainingConfig) -> float:
        """What a fresh child of a config is expected to take before its first timed step. Kernels that are compiled for
        one setting can take ten times what all else does: cuDNN's for depthwise convolutions in channels_last do.

        No setting is held to cost more than the cheapest start with it; a start costs what its costliest setting does.
        Stalls on new image sizes are the layout's or cudnn.benchmark's where one of those is on, not the precision's.
        """
        if config in self._overheads_s:
            return self._overheads_s[config]
        starts = [
            [
                taken_s
                for each, taken_s in self._overheads_s.items()
                if getattr(each, name) == getattr(config, name) and not (name == "precision" and each in self._stalled)
            ]
            for name in (knob.name for knob in SETTINGS)
        ]
        return max((min(starts_s) for starts_s in starts if starts_s), default=self._fresh_s)

    def affords_trial(
        self, config: TrainingConfig, racers: Sequence[TrainingConfig], checks: Sequence[TrainingConfig]
    ) -> bool:
        """Whether one more, of this config, leaves racers a race, and these the check of their numerics."""
        trial_s = self.start_s(config) + self._in_all(len(self.steps)) * self._step_s
        return trial_s <= self._left_s(racers, checks)

    def affords_heat(
        self,
        sides: Sequence[TrainingConfig],
        steps: int,
        racers: Sequence[TrainingConfig],
        checks: Sequence[TrainingConfig],
    ) -> bool:
        """Whether a block of these, each of so many steps, leaves racers a race, and these the check of their
        numerics."""
        heat_s = sum(self.start_s(each) + self._in_all(steps) * self._usual_s(each) for each in sides)
        return heat_s <= self._left_s(racers, checks)

    def step_limit_s(self, racers: Sequence[TrainingConfig], checks: Sequence[TrainingConfig]) -> float:
        """The longest that a step may take where racers are left a race, and these the check of their numerics: half of
        that, since a trial meets two new image sizes."""
        return min(self.timeout_s, max(self._waited_for_s, self._left_s(racers, checks) / 2.0))

    def check_limit_s(self, config: TrainingConfig, racers: Sequence[TrainingConfig]) -> float:
        """The longest that a config may train for a check of its numerics, all steps and its start together: half of
        what racers leave beside a race, since fp32 trains too. Never less than a few times what it should take: steps
        whose updates a GradScaler leaves out are taken again."""
        least_s = max(self._waited_for_s, _STALLED * self.checks_s([config]))
        return max(least_s, min(STEPS * self.timeout_s, self._left_s(racers, []) / 2.0))

    def _left_s(self, racers: Sequence[TrainingConfig], checks: Sequence[TrainingConfig]) -> float:
        """What is left beside a race of racers and the check of these configs' numerics."""
        return self._bench.remaining_s - self.for_race_s(racers) - self.checks_s(checks)

    def affords_checks(self, checks: Sequence[TrainingConfig], racers: Sequence[TrainingConfig]) -> bool:
        """Whether there is time to check the numerics of these and for a race; for what leads the shortest will do."""
        leads = any(each.arithmetic == racers[0].arithmetic for each in checks)
        reserve_s = self.race(racers).least_s() if leads else self.for_race_s(racers)
        return not checks or self._bench.remaining_s >= self.checks_s(checks) + reserve_s

    def affords_late_checks(self, checks: Sequence[TrainingConfig]) -> bool:
        """Whether there is time to check the numerics of these after the race."""
        return self.checks_s(checks) <= self.left_s

    @property
    def left_s(self) -> float:
        """What is left of it; no less than nothing."""
        return max(0.0, self._bench.remaining_s)

    def checks_s(self, checks: Sequence[TrainingConfig]) -> float:
        """What checking the numerics of these takes."""
        return sum(
            max(0.0, self.start_s(config) - _WARM_UP_STEPS * self._usual_s(config)) + STEPS * self._usual_s(config)
            for config in checks
        )

    def _usual_s(self, config: TrainingConfig) -> float:
        """A step of a config in seconds; the baseline's where it was not timed."""
        trial = self._standings.trials.get(config)
        return median(trial.step_ms) / 1000.0 if trial and trial.step_ms else self._step_s

    def is_too_costly_to_race(self, config: TrainingConfig) -> bool:
        """Whether a race of a measured config cannot be paid for its start alone: if it started as the baseline does,
        it could be. What starts only a little later is raced as far as the budget goes, as anything is."""
        ours, baseline = self._side(config), self._side(self._standings.baseline.config)
        if ours.fresh_s <= _COSTLY_TIMES * baseline.fresh_s:
            return False
        usual = replace(ours, fresh_s=baseline.fresh_s)
        left_s = self._bench.remaining_s
        return self._race_of([ours]).least_s() > left_s >= self._race_of([usual]).least_s()

    def for_race_s(self, racers: Sequence[TrainingConfig]) -> float:
        """What trials leave for a race of these, or of the baseline alone."""
        return self._reserve_s(self.race(racers), self.total_s)

    def _reserve_s(self, race: Race, total_s: float) -> float:
        return max(race.least_s(), min(_RACE_SHARE * total_s, race.most_s()))

    def race(self, candidates: Sequence[TrainingConfig]) -> Race:
        """A race of these against the baseline, by what their trials took; of the baseline alone where none are."""
        return self._race_of([self._side(config) for config in candidates])

    def _side(self, config: TrainingConfig) -> Side:
        fresh_s = self._overheads_s.get(config, self._fresh_s)
        preference = self._objective.preference(self._standings.trials[config])
        return Side(config, self._usual_s(config), fresh_s, preference)

    def _race_of(self, candidates: Sequence[Side]) -> Race:
        return Race(
            self._bench,
            self._side(self._standings.baseline.config),
            candidates,
            self.timeout_s,
            tie=self._objective.tie,
            measure=self._objective.measure,
            side_s=self._objective.window_s,
            heats=self._standings.heats,
            first_step=self._standings.next_step,
            deviation=self._standings.deviation,
        )

    def remedy(self, racers: Sequence[TrainingConfig], *, probes: int) -> str:
        """A budget that would do for a first comparison: the baseline's trials, one more, and what a trial leaves for a
        race then; and no less than a race of these lacks now, or, where there are none, one more trial. probes: of
        memory, which come before."""
        trial_s = self._trial_s(len(self.steps))
        lacks_s = self.race(racers).least_s() if racers else trial_s + self.for_race_s([])
        enough_s = self.total_s + max(1.0, _SURELY * (lacks_s - self._bench.remaining_s))
        race = self.race([])
        # A larger budget has room for more steps in a trial, and leaves more to the race.
        while enough_s < self._first_comparison_s(race, enough_s, probes):
            enough_s *= 1.02
        return f"--budget {math.ceil(enough_s)}s may do for a first comparison"

    def _first_comparison_s(self, race: Race, total_s: float, probes: int) -> float:
        """What it takes, at most, within a budget of so much."""
        trials_s = (1 + probes) * self._trial_s(STEPS_AT_LEAST) + 2.0 * self._trial_s(self._steps_within(total_s))
        return _SURELY * trials_s + self._reserve_s(race, total_s)

    def _trial_s(self, steps: int) -> float:
        """What a trial of a config takes that starts as slowly as any so far, and meets two new image sizes."""
        return max(self._overheads_s.values()) + (self._in_all(steps) + 2) * self._step_s

    def enough_s(self, race_s: float, spent_s: float, *, cut_short: bool) -> int:
        """A budget that leaves the race so much, if the search takes what it took; one that was cut short takes all but
        the race's share. This one was not enough, whatever it was expected to be."""
        return math.ceil(1.1 * max(self.total_s, spent_s + race_s, race_s / _RACE_SHARE if cut_short else 0.0))
