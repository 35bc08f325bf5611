"""The race: candidates and baseline side by side, in blocks of the same images, which the verdict comes from."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from autotune.config import TrainingConfig
from autotune.intervals import INDIFFERENCE
from autotune.records import Outcome, Stage, Trial, Verdict, VerdictKind
from autotune.tuner.bench import Bench, Order
from autotune.tuner.journal import SIDES_AT_MOST
from autotune.tuner.verdict import ENERGY, MIN_BLOCKS, SPEED, Measure, verdict

__all__ = ["Race", "Side"]

_BLOCKS_AT_MOST = 12
# Fresh processes for every block where at least this many such blocks can be paid.
_FRESH_BLOCKS_AT_LEAST = 5
# A side of a block lasts at least this long, so that the clock and the scheduler do not show, and a fresh one takes at
# least this many steps beside its start and warm-up.
_BLOCK_SIDE_S = 0.5
_FRESH_STEPS = 4
# After these numbers of blocks, and no other, the data are looked at: candidates that are behind leave, and the race
# ends where nothing is open.
_LOOKS = (3, 5, 7, 9)
_BEHIND_STANDARD_ERRORS = 2.2
# No race is decided before this many blocks.
_DECIDED_FROM = 5
# The race is decided where the mean lies this many standard errors outside the zone of indifference.
_DECIDED_STANDARD_ERRORS = 4.0
# A race in which everything ties, the baseline too, ends from this many blocks on: whatever wins, little is lost.
_TIED_FROM = 7
# Standard errors are taken for no smaller than this, as ln of a ratio: three blocks may agree by luck.
_LEAST_ERROR = 0.001


@dataclass(frozen=True)
class Side:
    """One config in a race. step_s: its step time; fresh_s: what a fresh child takes before its first timed step.

    preference: sort key among configs that tie.
    """

    config: TrainingConfig
    step_s: float
    fresh_s: float
    preference: tuple[object, ...] = ()


class Race:
    """A race of the baseline against candidates, the most promising first; the baseline alone races itself (A/A).

    tie: the measured difference, as ln of a ratio, within which the preferred of two candidates wins: half the zone of
    indifference, since what is measured half of it behind is seldom a whole one. measure: what they race in.
    side_s: how long a side of a block lasts at least, where the measure needs more than the clock does.
    """

    def __init__(
        self,
        bench: Bench,
        baseline: Side,
        candidates: Sequence[Side],
        step_timeout_s: float,
        *,
        tie: float = INDIFFERENCE / 2,
        measure: Measure = SPEED,
        side_s: float = 0.0,
    ) -> None:
        self.bench = bench
        self.baseline = baseline
        self.candidates = tuple(candidates) or (baseline,)
        self.step_timeout_s = step_timeout_s
        self.tie = tie
        self.measure = measure
        # All sides time the same steps: as many as the fastest needs for its time.
        fastest_s = min(side.step_s for side in (baseline, *candidates))
        self.width = max(1, math.ceil(max(_BLOCK_SIDE_S, side_s) / fastest_s))

    def block_s(self, candidates: int, width: int, *, fresh: bool) -> float:
        """What a block of width steps takes: all sides, each with its start and warm-up where its child is fresh."""
        sides = (self.baseline, *self.candidates[:candidates])
        return sum(width * side.step_s + (side.fresh_s if fresh else 0.0) for side in sides)

    def least_s(self) -> float:
        """What a verdict takes at least."""
        return MIN_BLOCKS * self.block_s(1, self.width, fresh=not self.bench.keeps_sessions)

    def most_s(self) -> float:
        return _BLOCKS_AT_MOST * self.block_s(1, self.width, fresh=True)

    def run(self, *, remedy: str, budget_for: Callable[[float], int]) -> Verdict:
        """Race within what is left of the budget; remedy: what to tell the user where that is too little. budget_for:
        the budget in seconds that leaves a race so many.

        The number of blocks, and after which of them the data are looked at, are fixed before the first.
        """
        plan = self._plan()
        running = list(self.candidates[: plan.candidates])
        gains: dict[TrainingConfig, list[float]] = {side.config: [] for side in running}
        dice = random.Random(self.bench.seed)
        failures: list[Trial] = []
        for block in range(plan.blocks):
            sides = [self.baseline, *running]
            order = dice.sample(range(len(sides)), len(sides))
            measured = {place: self._measure(sides[place], place, block, plan) for place in order}
            if measured[0].outcome is not Outcome.OK:
                return _lost(running[0].config, measured[0])
            for place, side in enumerate(running, start=1):
                if measured[place].outcome is Outcome.OK:
                    gains[side.config].append(self.measure.log_ratio(measured[0], measured[place]))
                else:
                    failures.append(measured[place])
                    del gains[side.config]
            running = [side for side in running if side.config in gains]
            if not running:
                return _lost(failures[-1].config, failures[-1])
            if block + 1 in _LOOKS:
                running = self._in_front(running, gains)
                if block + 1 >= _DECIDED_FROM and self._is_decided(running, gains):
                    break
        winner = self._winner(running, gains)
        return verdict(
            self.baseline.config,
            winner.config,
            gains[winner.config],
            compared=plan.candidates,
            remedy=remedy,
            measure=self.measure,
            would_do=lambda blocks: self._would_do(blocks, plan, budget_for),
        )

    def _would_do(self, blocks: int, plan: _Plan, budget_for: Callable[[float], int]) -> str:
        """How to get so many blocks."""
        if blocks > _BLOCKS_AT_MOST:
            return f"it would take some {blocks} blocks, of {_BLOCKS_AT_MOST} at most: only a quieter machine helps"
        race_s = blocks * self.block_s(plan.candidates, plan.width, fresh=plan.fresh)
        return f"--budget {budget_for(race_s)}s would do, for {blocks} blocks"

    def _in_front(self, running: list[Side], gains: Mapping[TrainingConfig, list[float]]) -> list[Side]:
        """Those that are not behind the fastest, by more than the noise and by more than a tie."""
        fastest = max(running, key=lambda side: fmean(gains[side.config]))
        kept = []
        for side in running:
            lead, error = _lead(gains[side.config], gains[fastest.config])
            if lead >= -max(_BEHIND_STANDARD_ERRORS * error, self.tie):
                kept.append(side)
        return kept

    def _is_decided(self, running: list[Side], gains: Mapping[TrainingConfig, list[float]]) -> bool:
        """Nothing that more blocks could change: who wins, and whether the baseline is beaten."""
        winner = self._winner(running, gains)
        mean, error = _mean_and_error(gains[winner.config])
        leads = [_lead(gains[side.config], gains[winner.config]) for side in running if side is not winner]
        if len(gains[winner.config]) >= _TIED_FROM and abs(mean) < INDIFFERENCE / 2:
            return all(lead < self.tie for lead, _ in leads)
        beaten = abs(abs(mean) - INDIFFERENCE) > _DECIDED_STANDARD_ERRORS * error
        return beaten and all(
            lead + _BEHIND_STANDARD_ERRORS * error < max(INDIFFERENCE, self.tie) for lead, error in leads
        )

    def _winner(self, running: list[Side], gains: Mapping[TrainingConfig, list[float]]) -> Side:
        """The preferred of those that tie with the fastest."""
        means = {side.config: fmean(gains[side.config]) if gains[side.config] else 0.0 for side in running}
        best = max(means.values())
        tied = [side for side in running if means[side.config] >= best - self.tie]
        return min(tied, key=lambda side: side.preference)

    def _plan(self) -> _Plan:
        """Differences between processes are part of the noise that the interval should hold, so children are kept
        through the race only where time is short; then it is between two, since memory for more is not there."""
        wide = max(self.width, _FRESH_STEPS)
        for width, count in [*((wide, count) for count in range(len(self.candidates), 0, -1)), (self.width, 1)]:
            affordable = int(self.bench.remaining_s / self.block_s(count, width, fresh=True))
            if affordable >= _FRESH_BLOCKS_AT_LEAST:
                return _Plan(min(_BLOCKS_AT_MOST, affordable), count, width, fresh=True)
        fresh = not self.bench.keeps_sessions
        affordable = int(self.bench.remaining_s / self.block_s(1, self.width, fresh=fresh))
        if affordable == MIN_BLOCKS - 1:
            # One block over the budget is a small price for having a verdict at all.
            affordable = MIN_BLOCKS
        return _Plan(min(_BLOCKS_AT_MOST, affordable) if affordable >= MIN_BLOCKS else 0, 1, self.width, fresh=fresh)

    def _measure(self, side: Side, place: int, block: int, plan: _Plan) -> Trial:
        if plan.fresh:
            self.bench.release(side.config)
        return self.bench.measure(
            Order(
                Stage.RACE,
                side.config,
                range(block * plan.width, (block + 1) * plan.width),
                block=SIDES_AT_MOST * block + place,
                keep=not plan.fresh,
                step_timeout_s=self.step_timeout_s,
                needs_energy=self.measure is ENERGY,
                reserve_s=(plan.blocks - block) * self.block_s(plan.candidates, plan.width, fresh=plan.fresh),
            )
        )


def _lead(gains: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """By how much one is faster than another, as ln of a ratio, and the standard error of that."""
    return _mean_and_error([ours - theirs for ours, theirs in zip(gains, others, strict=True)])


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    return fmean(values), max(_LEAST_ERROR, stdev(values) / math.sqrt(len(values)))


@dataclass(frozen=True)
class _Plan:
    """width: steps that each side takes in a block."""

    blocks: int
    candidates: int
    width: int
    fresh: bool


def _lost(candidate: TrainingConfig, failed: Trial) -> Verdict:
    return Verdict(
        kind=VerdictKind.NOT_MEASURED,
        candidate=candidate,
        sentence=(
            f"No verdict: {failed.config.label()} failed when it was measured again "
            f"({failed.outcome}: {failed.detail}); your baseline stands."
        ),
    )
