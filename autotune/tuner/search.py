"""The search's interface, and the first search: settings at one batch size, batch sizes on the best of them, a race.

A better search replaces this one behind the same interface: it asks a Bench for measurements and returns Findings.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from autotune.config import TrainingConfig
from autotune.errors import DeviceError
from autotune.records import Outcome, Recommended, Stage, Trial, Verdict, VerdictKind
from autotune.tuner.bench import Bench, Order, fail_if_unusable
from autotune.tuner.space import Space
from autotune.tuner.verdict import MIN_BLOCKS, paired_log_ratio, recommended, verdict

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
# The race's share of the budget, and its blocks.
_RACE_SHARE = 0.4
_BLOCKS_AT_MOST = 12
# A side of a block lasts at least this long, so that the clock and the scheduler do not show.
_BLOCK_SIDE_S = 0.5
# No answer for this many times the baseline's slowest step: a timeout.
_STALLED = 3.0
_STALLED_AT_LEAST_S = {"cpu": 5.0, "cuda": 60.0}


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
        self.candidate: TrainingConfig | None = None
        self.not_tried: list[TrainingConfig] = []

    def findings(self) -> Findings:
        self.baseline = self._measure_baseline()
        self.leader = self.baseline.config
        for settings in self.space.settings(self.baseline.config):
            self._try(settings, Stage.SETTINGS)
        self._try_batch_sizes()
        # Where nothing else could be timed the baseline runs against itself.
        result = self._race(self.candidate or self.baseline.config)
        memory = {config: trial.peak_memory_bytes for config, trial in self.trials.items()}
        config = recommended(result, self.baseline.config, memory)
        return Findings(self.baseline.config, Recommended(config=config, verdict=result), tuple(self.not_tried))

    def _measure_baseline(self) -> Trial:
        """The baseline at the largest divisor of the effective batch that fits."""
        detail = ""
        for config in self.space.baselines():
            # How long a step takes is not known yet: time the fewest, then as many as the budget has room for.
            patience_s = max(60.0, self.bench.remaining_s)
            first = self.bench.measure(
                Order(Stage.BASELINE, config, range(_STEPS_AT_LEAST), block=0, keep=True, step_timeout_s=patience_s)
            )
            fail_if_unusable(first)
            if first.outcome is Outcome.OK:
                return self._measure_fully(first)
            detail = first.detail
        raise DeviceError(f"not even one image at a time fits into memory ({detail}); try a smaller --image-size")

    def _measure_fully(self, first: Trial) -> Trial:
        self.step_s = median(first.step_ms) / 1000.0
        # What a trial in a fresh child takes beside its timed steps: its start, the worst case, the warm-up.
        self.fresh_s = first.duration_s - sum(first.step_ms) / 1000.0
        slowest_s = max(*first.step_ms, *first.warmup_ms, first.worst_case_ms or 0.0) / 1000.0
        self.timeout_s = max(_STALLED_AT_LEAST_S[self.bench.circumstances.device_type], _STALLED * slowest_s)
        affordable = round(_TRIAL_SHARE * self.budget_s / self.step_s)
        self.steps = range(min(_STEPS_AT_MOST, max(_STEPS_AT_LEAST, affordable)))
        baseline = first
        if len(self.steps) > len(first.steps):
            order = Order(Stage.BASELINE, first.config, self.steps, block=1, keep=True, step_timeout_s=self.timeout_s)
            baseline = self.bench.measure(order)
            fail_if_unusable(baseline)
            if baseline.outcome is not Outcome.OK:
                raise DeviceError(f"the baseline fitted once and then did not ({baseline.detail}); free some memory")
        self.trials[first.config] = baseline
        return baseline

    def _try(self, config: TrainingConfig, stage: Stage) -> Trial | None:
        """Measure a config where the budget has room for it beside the race."""
        expected_s = self.fresh_s + len(self.steps) * self.step_s
        if self.bench.remaining_s < expected_s + self._race_reserve_s():
            self.not_tried.append(config)
            return None
        trial = self.bench.measure(
            Order(
                stage,
                config,
                self.steps,
                keep=True,
                give_up_ms=_GIVE_UP * median(self.trials[self.leader].step_ms),
                step_timeout_s=self.timeout_s,
            )
        )
        self.trials[config] = trial
        self._keep_if_best(trial)
        return trial

    def _keep_if_best(self, trial: Trial) -> None:
        """Keep the child of the best config beside the baseline alive, for the race, and end the one it beat."""
        if not self._is_timed(trial):
            self.bench.release(trial.config)
            return
        beaten = self.candidate
        if beaten is not None and self._gain(trial) <= self._gain(self.trials[beaten]):
            self.bench.release(trial.config)
            return
        self.candidate = trial.config
        if beaten is not None:
            self.bench.release(beaten)
        if self._gain(trial) > self._gain(self.trials[self.leader]):
            self.leader = trial.config

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
            gain = self._gain(trial) if self._is_timed(trial) else -math.inf
            losses = losses + 1 if gain < best - _RUNG_LOSS else 0
            best = max(best, gain)
            if losses == 2:
                break

    def _gain(self, trial: Trial) -> float:
        """ln of the speed over the baseline's, on the images that both timed."""
        return paired_log_ratio(self.baseline, trial)

    def _is_timed(self, trial: Trial) -> bool:
        return trial.outcome is Outcome.OK and bool(trial.step_ms)

    def _steps_a_side(self) -> int:
        return max(1, math.ceil(_BLOCK_SIDE_S / self.step_s))

    def _block_s(self) -> float:
        """What a block of the race takes: two sides, each with its start and warm-up where children are not kept."""
        side_s = self._steps_a_side() * self.step_s
        return 2.0 * (side_s if self.bench.keeps_sessions else side_s + self.fresh_s)

    def _race_reserve_s(self) -> float:
        return max(MIN_BLOCKS * self._block_s(), min(_RACE_SHARE * self.budget_s, _BLOCKS_AT_MOST * self._block_s()))

    def _race(self, candidate: TrainingConfig) -> Verdict:
        """Candidate and baseline side by side, in blocks of the same images, each block in random order.

        The number of blocks is fixed before the first, so that no look at the data decides when to stop.
        """
        sides = [self.baseline.config, candidate]
        blocks = min(_BLOCKS_AT_MOST, int(self.bench.remaining_s / self._block_s()))
        if blocks == MIN_BLOCKS - 1:
            # One block over the budget is a small price for having a verdict at all.
            blocks = MIN_BLOCKS
        if blocks < MIN_BLOCKS:
            enough_s = math.ceil(
                (self.fresh_s + (len(self.steps) + 1) * self.step_s) * 2 + MIN_BLOCKS * self._block_s()
            )
            return verdict(sides[0], candidate, (), remedy=f"--budget {enough_s}s would do for a first comparison")
        # The same config twice is an A/A race: two measurements of one child stand for the two sides.
        dice = random.Random(self.bench.seed)
        log_ratios = []
        width = self._steps_a_side()
        for block in range(blocks):
            steps = range(block * width, (block + 1) * width)
            order = [0, 1] if dice.random() < 0.5 else [1, 0]
            measured = {
                side: self.bench.measure(
                    Order(
                        Stage.RACE,
                        sides[side],
                        steps,
                        block=2 * block + side,
                        keep=True,
                        step_timeout_s=self.timeout_s,
                    )
                )
                for side in order
            }
            failed = [trial for trial in measured.values() if trial.outcome is not Outcome.OK]
            if failed:
                return self._lost(candidate, failed[0])
            log_ratios.append(paired_log_ratio(measured[0], measured[1]))
        return verdict(sides[0], candidate, log_ratios)

    def _lost(self, candidate: TrainingConfig, failed: Trial) -> Verdict:
        return Verdict(
            kind=VerdictKind.NOT_MEASURED,
            candidate=candidate,
            sentence=(
                f"No verdict: {failed.config.label()} failed when it was measured again "
                f"({failed.outcome}: {failed.detail}); your baseline stands."
            ),
        )
