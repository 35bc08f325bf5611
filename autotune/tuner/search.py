"""The search's interface, and the first search: settings at one batch size, batch sizes on the best of them, a race.

A better search replaces this one behind the same interface: it asks a Bench for measurements and returns Findings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from autotune.config import TrainingConfig
from autotune.errors import DeviceError
from autotune.records import Outcome, Recommended, Stage, Trial, Verdict, VerdictKind
from autotune.tuner.bench import Bench, Order, fail_if_unusable
from autotune.tuner.race import Race, Side
from autotune.tuner.space import Space
from autotune.tuner.verdict import INDIFFERENCE, paired_log_ratio, preference, recommended

__all__ = ["Findings", "FirstSearch", "Search"]


@dataclass(frozen=True)
class Findings:
    """What a search found. not_tried: configs that the budget left no time for."""

    baseline: TrainingConfig
    recommendation: Recommended
    not_tried: tuple[TrainingConfig, ...]


class Search(Protocol):
    name: str

    def run(self, bench: Bench, space: Space) -> Findings:
        """Raises AutotuneError where the baseline itself cannot be measured."""
        ...


# Timed steps of a trial: what fits into this share of the budget, within these bounds.
_TRIAL_SHARE = 0.04
_STEPS_AT_LEAST, _STEPS_AT_MOST = 1, 10
# A config that is this much slower than the leader while warming up is given up.
_GIVE_UP = 1.35
# A batch ladder ends after two rungs that are slower than its best by more than this.
_RUNG_LOSS = 0.02
# The race's share of the budget.
_RACE_SHARE = 0.4
# No answer for this many times the baseline's slowest step: a timeout.
_STALLED = 3.0
_STALLED_AT_LEAST_S = {"cpu": 20.0, "cuda": 60.0}


class FirstSearch:
    """Baseline, settings, batch sizes, race; each stage leaves time for the race, which the verdict comes from."""

    name = "first"

    def run(self, bench: Bench, space: Space) -> Findings:
        return _Run(bench, space).findings()


class _Run:
    def __init__(self, bench: Bench, space: Space) -> None:
        self.bench = bench
        self.space = space
        self.budget_s = bench.remaining_s
        self.trials: dict[TrainingConfig, Trial] = {}
        self.overheads_s: dict[TrainingConfig, float] = {}
        self.candidate: TrainingConfig | None = None
        self.not_tried: list[TrainingConfig] = []

    def findings(self) -> Findings:
        self.baseline = self._measure_baseline()
        self.leader = self.baseline.config
        for settings in self.space.settings(self.baseline.config):
            self._try(settings, Stage.SETTINGS)
        self._try_batch_sizes()
        result = self._verdict()
        memory = {config: trial.peak_memory_bytes for config, trial in self.trials.items()}
        config = recommended(result, self.baseline.config, memory)
        return Findings(self.baseline.config, Recommended(config=config, verdict=result), tuple(self.not_tried))

    def _measure_baseline(self) -> Trial:
        """The baseline at the largest divisor of the effective batch that fits."""
        detail = ""
        for config in self.space.baselines():
            # How long a step takes is not known yet: time the fewest, then as many as the budget has room for.
            patience_s = max(60.0, self.bench.remaining_s)
            first = self._measure(Stage.BASELINE, config, range(_STEPS_AT_LEAST), patience_s, block=0)
            fail_if_unusable(first)
            if first.outcome is Outcome.OK:
                return self._measure_fully(first)
            detail = first.detail
        raise DeviceError(f"not even one image at a time fits into memory ({detail}); try a smaller --image-size")

    def _measure_fully(self, first: Trial) -> Trial:
        self.step_s = median(first.step_ms) / 1000.0
        slowest_s = max(*first.step_ms, *first.warmup_ms, first.worst_case_ms or 0.0) / 1000.0
        self.timeout_s = max(_STALLED_AT_LEAST_S[self.bench.circumstances.device_type], _STALLED * slowest_s)
        affordable = round(_TRIAL_SHARE * self.budget_s / self.step_s)
        self.steps = range(min(_STEPS_AT_MOST, max(_STEPS_AT_LEAST, affordable)))
        baseline = first
        if len(self.steps) > len(first.steps):
            baseline = self._measure(Stage.BASELINE, first.config, self.steps, self.timeout_s, block=1)
            fail_if_unusable(baseline)
            if baseline.outcome is not Outcome.OK:
                raise DeviceError(f"the baseline fitted once and then did not ({baseline.detail}); free some memory")
        self.trials[first.config] = baseline
        return baseline

    def _measure(
        self,
        stage: Stage,
        config: TrainingConfig,
        steps: range,
        step_timeout_s: float,
        *,
        block: int | None = None,
        give_up_ms: float | None = None,
    ) -> Trial:
        order = Order(stage, config, steps, block, keep=True, give_up_ms=give_up_ms, step_timeout_s=step_timeout_s)
        trial = self.bench.measure(order)
        if trial.outcome is Outcome.OK and trial.worst_case_ms is not None:
            self.overheads_s[config] = trial.duration_s - sum(trial.step_ms) / 1000.0
        return trial

    @property
    def fresh_s(self) -> float:
        """What a fresh child takes before its first timed step: its start, the worst case, the warm-up.

        The baseline's may hold the first start of all, which also reads libraries from disk: it counts while it is
        alone.
        """
        others = [taken_s for config, taken_s in self.overheads_s.items() if config != self.baseline.config]
        return median(others or self.overheads_s.values())

    def _try(self, config: TrainingConfig, stage: Stage) -> Trial | None:
        """Measure a config where the budget has room for it beside the race."""
        expected_s = self.fresh_s + len(self.steps) * self.step_s
        if self.bench.remaining_s < expected_s + self._race_reserve_s():
            self.not_tried.append(config)
            return None
        # While it warms up it trains on the first of the timed steps, which the leader has timed.
        give_up_ms = _GIVE_UP * self.trials[self.leader].step_ms[0]
        trial = self._measure(stage, config, self.steps, self.timeout_s, give_up_ms=give_up_ms)
        self.trials[config] = trial
        self._choose(config)
        return trial

    def _choose(self, newest: TrainingConfig) -> None:
        """Choose the candidate anew; its child stays alive for the race, and the other's ends."""
        others = [trial for config, trial in self.trials.items() if config != self.baseline.config and _timed(trial)]
        before = self.candidate
        if others:
            best = max(map(self._gain, others))
            tied = [trial for trial in others if self._gain(trial) >= best - INDIFFERENCE]
            self.candidate = min(tied, key=preference).config
            self.leader = self.candidate if best > 0.0 else self.baseline.config
        for config in {before, newest} - {self.candidate, None}:
            assert config is not None
            self.bench.release(config)

    def _try_batch_sizes(self) -> None:
        """The ladder of batch sizes on the best settings: larger ones first, then downwards with an early stop."""
        settings = self.leader
        best = self._gain(self.trials[settings])
        losses = 0
        for config in self.space.batch_sizes(settings):
            if config in self.trials:
                continue
            trial = self._try(config, Stage.BATCH_SIZES)
            if trial is None or config.batch_size > settings.batch_size:
                continue
            gain = self._gain(trial) if _timed(trial) else -math.inf
            losses = losses + 1 if gain < best - _RUNG_LOSS else 0
            best = max(best, gain)
            if losses == 2:
                break

    def _verdict(self) -> Verdict:
        baseline = self.baseline.config
        if self.candidate is not None or self.space.settings_fixed:
            return self._race(self.candidate or baseline).run(remedy=self._remedy())
        sentence = f"No verdict: the budget left no time to measure another setting; {self._remedy()}."
        if not self.not_tried:
            sentence = "No verdict: no other setting could be timed here; your baseline stands."
        return Verdict(kind=VerdictKind.NOT_MEASURED, candidate=baseline, sentence=sentence)

    def _race(self, candidate: TrainingConfig) -> Race:
        baseline, other = (
            Side(config, median(self.trials[config].step_ms) / 1000.0, self.overheads_s[config])
            for config in (self.baseline.config, candidate)
        )
        return Race(self.bench, baseline, other, self.timeout_s)

    def _race_reserve_s(self) -> float:
        race = self._race(self.candidate or self.baseline.config)
        return max(race.least_s(), min(_RACE_SHARE * self.budget_s, race.most_s()))

    def _remedy(self) -> str:
        """A budget that would do for a first comparison: two trials and a race, each with its share."""
        race = self._race(self.baseline.config)
        trials_s = 2.0 * (max(self.overheads_s.values()) + (len(self.steps) + 2) * self.step_s)
        enough_s = math.ceil(1.2 * max(trials_s + race.least_s(), trials_s / (1.0 - _RACE_SHARE)))
        return f"--budget {enough_s}s would do for a first comparison"

    def _gain(self, trial: Trial) -> float:
        """ln of the speed over the baseline's, on the images that both timed."""
        return paired_log_ratio(self.baseline, trial)


def _timed(trial: Trial) -> bool:
    return trial.outcome is Outcome.OK and bool(trial.step_ms)
