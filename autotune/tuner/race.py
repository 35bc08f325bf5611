"""The race: heats between the candidates, then a final of the winner and the baseline, which the verdict comes from.

In both, sides are measured in blocks of the same images. The final's blocks are new ones: who wins the heats looks
faster than it is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev

from autotune.config import TrainingConfig
from autotune.intervals import INDIFFERENCE, interval, is_shown
from autotune.records import SIDES_AT_MOST, Outcome, RaceEnd, Stage, Trial, Verdict, VerdictKind
from autotune.tuner import memory_margin
from autotune.tuner.bench import Bench
from autotune.tuner.heats import HEATS_AT_LEAST, HEATS_AT_MOST, LEAST_ERROR, Heats
from autotune.tuner.order import Order
from autotune.tuner.passes import whole_passes
from autotune.tuner.side import Side
from autotune.tuner.verdict import ENERGY, MIN_BLOCKS, SPEED, Measure, verdict

__all__ = ["Race"]

_BLOCKS_AT_MOST = 12
# Fresh processes for every block where at least this many such blocks of a final can be paid.
_FRESH_BLOCKS_AT_LEAST = 5
# Where a candidate is so much faster than the baseline, as ln of a ratio, so few will do: what is in doubt there is
# which candidate is the fastest. By Student's t a gain shows at 99% in four blocks if it is 3 of their standard
# deviations, in three if it is 6; those of processes 1.5% apart are 2%, and few samples may show twice that.
_FEWER_BLOCKS = ((0.15, 4), (0.3, MIN_BLOCKS))
# Nor do they do where their interval spans more than this share of the ratio: who reads it would know more by two more.
# That would choose those that agree by luck, unless blocks are so steady that most do: while the standard deviation of
# a block's gain, by the trials and heats before, is no more than this as ln.
_WIDEST_OF_FEW, _STEADY = 0.2, 0.03
# A side of a block lasts at least this long, so that the clock and the scheduler do not show, and a fresh one takes at
# least this many steps beside its start and warm-up.
_BLOCK_SIDE_S = 0.5
_FRESH_STEPS = 4
# Sides take whole passes over the images where there is time for so many blocks of a final: of a small gain more blocks
# tell more than longer ones.
_WIDE_BLOCKS_AT_LEAST = 8
# After these numbers of the final's blocks, and those above, it may end before its time: where the mean lies so many
# standard errors from the edge of the zone of indifference, and outside of it the verdict would be sure; or, from so
# many blocks on, within half of it and so many standard errors within one and a half of it.
_FINAL_LOOKS = (5, 7, 9)
_DECIDED_STANDARD_ERRORS = 4.0
_TIED_FROM = 7
_TIED_STANDARD_ERRORS = 1.5


class Race:
    """A race of candidates, the most promising first, and of the baseline; that alone races itself (A/A).

    tie: the measured difference, as ln of a ratio, within which the preferred of two candidates wins: half the zone of
    indifference, since what is measured half of it behind is seldom a whole one. measure: what they race in.
    side_s: how long a side of a block lasts at least, where the measure needs more than the clock does. heats: blocks
    of heats that were held already, each with its sides. first_step: the first step whose images those who race were
    not chosen by; where a pass over the images has so many, the race begins with them. deviation: the standard
    deviation of a step's time beside other configs' on the same images, as ln.
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
        heats: Sequence[Mapping[TrainingConfig, Trial]] = (),
        first_step: int = 0,
        deviation: float = 0.0,
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
        self._heats_before = heats
        self._next_step = first_step
        self._deviation = deviation
        self._spread_of_heats = 0.0
        self._blocks = 0  # of the final so far, over all who ran it
        self._dice = random.Random(bench.seed)

    @property
    def wide(self) -> int:
        """How many steps a side of a block takes where its process is fresh: whole passes over the images, so that what
        they make of each config's batches is the same in every block."""
        return whole_passes(max(self.width, _FRESH_STEPS), self.bench.batches_in_turn)

    def least_s(self) -> float:
        """What a verdict takes at least: that of the first candidate."""
        return MIN_BLOCKS * self._final_s(self.candidates[:1], self.width, fresh=not self.bench.keeps_sessions)

    def most_s(self) -> float:
        """What the longest final takes, and with it the fewest heats."""
        wide = self.wide
        heats_s = self._block_s(self.candidates, wide, fresh=True) if len(self.candidates) > 1 else 0.0
        return HEATS_AT_LEAST * heats_s + _BLOCKS_AT_MOST * self._final_s(self.candidates, wide, fresh=True)

    def run(self, *, remedy: str, budget_for: Callable[[float], int]) -> Verdict:
        """Race within what is left of the budget; remedy: what to tell the user where that is too little. budget_for:
        the budget in seconds that leaves a race so many.

        Who fails in the final gives way to the next of the heats. Where it is the baseline that fails, the blocks in
        hand give the verdict, if they are enough for one.
        """
        before_s = self.bench.remaining_s
        plan = self._plan()
        ranking, failed = self._heats(plan)
        heats_s = before_s - self.bench.remaining_s
        for place, candidate in enumerate(ranking):
            blocks = self._blocks_left(candidate, plan)
            if place > 0 and blocks < MIN_BLOCKS:
                break
            gains, failed = self._final(candidate, blocks, plan)
            of_baseline = failed is not None and failed.config == self.baseline.config
            if failed is None or (of_baseline and len(gains) >= MIN_BLOCKS):
                end = None if failed else self._end(gains, plan)
                # What ended since it was clear would end there with any budget.
                would_do = partial(self._would_do, candidate, plan, heats_s, budget_for)
                found = verdict(
                    self.baseline.config,
                    candidate.config,
                    gains,
                    remedy=remedy,
                    measure=self.measure,
                    would_do=None if end is RaceEnd.CLEAR else would_do,
                )
                return found.model_copy(update={"race_end": end})
            if of_baseline:
                return _lost(candidate.config, failed)
        assert failed is not None, "who has no winner has somebody who failed"
        return _lost(failed.config, failed)

    def _heats(self, plan: _Plan) -> tuple[list[Side], Trial | None]:
        """The candidates in the order in which they are entitled to the final, and the last that failed."""
        if not plan.heats:
            return list(self.candidates), None
        running = self.candidates[: plan.candidates]
        heats = Heats(running, self.measure.log_ratio, self.tie)
        for sides in self._held(running):
            heats.take([(side, sides[side.config]) for side in heats.running])
        slower = 1.0
        for block in range(plan.heats):
            if heats.are_decided:
                break
            final_s = self._final_s(heats.running, plan.width, fresh=True)
            block_s = self._block_s(heats.running, plan.width, fresh=True)
            # Blocks that took longer than expected, or twice, must not cost the verdict.
            before_s = self.bench.remaining_s
            if before_s < slower * (block_s + MIN_BLOCKS * final_s):
                break
            reserve_s = (plan.heats - block - 1) * block_s + plan.final * final_s
            heats.take(self._block(Stage.HEATS, heats.running, len(self._heats_before) + block, plan, reserve_s))
            slower = max(slower, (before_s - self.bench.remaining_s) / block_s)
        self._spread_of_heats = heats.spread
        return heats.ranking(), heats.failed

    def _final(self, candidate: Side, blocks: int, plan: _Plan) -> tuple[list[float], Trial | None]:
        """What the candidate gains on the baseline in each block, as ln of a ratio, and the trial that ended it early.

        How many blocks it takes, and after which of them it may end, is fixed before the first."""
        gains: list[float] = []
        for block in range(blocks):
            # Blocks that take longer than expected are no reason to go on without a budget.
            if block >= MIN_BLOCKS and self.bench.remaining_s <= 0.0:
                break
            reserve_s = (blocks - block) * self._final_s([candidate], plan.width, fresh=plan.fresh)
            (_, theirs), (_, ours) = self._block(Stage.RACE, (self.baseline, candidate), self._blocks, plan, reserve_s)
            self._blocks += 1
            for trial in (theirs, ours):
                if trial.outcome is not Outcome.OK:
                    return gains, trial
            gains.append(self.measure.log_ratio(theirs, ours))
            if self._end(gains, plan) is RaceEnd.CLEAR:
                break
        return gains, None

    def _block(
        self, stage: Stage, sides: Sequence[Side], block: int, plan: _Plan, reserve_s: float
    ) -> list[tuple[Side, Trial]]:
        """All sides, measured in random order on the next images; reserve_s: what of the budget is needed for what
        follows."""
        trials: dict[int, Trial] = {}
        steps = range(self._next_step, self._next_step + plan.width)
        self._next_step = steps.stop
        for place in self._dice.sample(range(len(sides)), len(sides)):
            if plan.fresh:
                self.bench.release(sides[place].config)
            order = Order(
                stage,
                sides[place].config,
                steps,
                block=SIDES_AT_MOST * block + place,
                keep=not plan.fresh,
                step_timeout_s=self.step_timeout_s,
                needs_energy=self.measure is ENERGY,
                sides=tuple(side.config for side in sides),
                reserve_s=reserve_s,
                most_bytes=self._most_bytes(sides[place]),
            )
            trials[place] = self.bench.measure(order)
        return [(side, trials[place]) for place, side in enumerate(sides)]

    def _most_bytes(self, side: Side) -> int | None:
        """The baseline is the user's own, whatever it takes."""
        return None if side.config == self.baseline.config else memory_margin.in_race(self.bench.memory_bytes)

    def _would_do(
        self, candidate: Side, plan: _Plan, heats_s: float, budget_for: Callable[[float], int], blocks: int
    ) -> str:
        """How to get so many blocks."""
        if blocks > _BLOCKS_AT_MOST:
            return f"it would take some {blocks} blocks, of {_BLOCKS_AT_MOST} at most: only a quieter machine helps"
        race_s = heats_s + blocks * self._final_s([candidate], plan.width, fresh=plan.fresh)
        return f"--budget {budget_for(race_s)}s would do, for {blocks} blocks"

    def _final_s(self, candidates: Sequence[Side], width: int, *, fresh: bool) -> float:
        """What a block of the final takes, at most, whichever of these runs it: one that starts slowly costs the others
        no block."""
        slowest = max(candidates, key=lambda side: self._block_s([side], width, fresh=fresh))
        return self._block_s((self.baseline, slowest), width, fresh=fresh)

    def _block_s(self, sides: Sequence[Side], width: int, *, fresh: bool) -> float:
        """What a block of width steps takes: all sides, each with its start and warm-up where its child is fresh."""
        steps = width + (self.bench.rehearsals(width) if fresh else 0)
        return sum(steps * side.step_s + (side.fresh_s if fresh else 0.0) for side in sides)

    def _blocks_left(self, candidate: Side, plan: _Plan) -> int:
        affordable = int(self.bench.remaining_s / self._final_s([candidate], plan.width, fresh=plan.fresh))
        if affordable == MIN_BLOCKS - 1:
            # One block over the budget is a small price for having a verdict at all.
            affordable = MIN_BLOCKS
        return min(_BLOCKS_AT_MOST, affordable) if affordable >= MIN_BLOCKS else 0

    def _plan(self) -> _Plan:
        """A final in fresh processes comes first, then heats of as many candidates as there is time for.

        Differences between processes are part of the noise that the interval should hold, so children are kept
        through the race only where time is short; then it is between two, since memory for more is not there."""
        left_s = self.bench.remaining_s
        narrow = max(self.width, _FRESH_STEPS)
        for count in range(len(self.candidates), 1, -1):
            running = self.candidates[:count]
            held = len(self._held(running))
            for width in dict.fromkeys((self.wide, narrow)):
                final = self._final_blocks(running, is_wide=width > narrow)
                heats_s = left_s - final * self._final_s(running, width, fresh=True)
                affordable = int(heats_s / self._block_s(running, width, fresh=True))
                heats = min(HEATS_AT_MOST, held + affordable)
                if heats >= HEATS_AT_LEAST:
                    return _Plan(heats - held, count, width, True, final)
        for width in dict.fromkeys((self.wide, *range(narrow, self.width - 1, -1))):
            final = self._final_blocks(self.candidates[:1], is_wide=width > narrow)
            if final * self._final_s(self.candidates[:1], width, fresh=True) <= left_s:
                return _Plan(0, 0, width, fresh=True)
        return _Plan(0, 0, self.width, fresh=not self.bench.keeps_sessions)

    def _held(self, running: Sequence[Side]) -> list[Mapping[TrainingConfig, Trial]]:
        """The blocks of heats that were held already and in which all of these took part."""
        return [sides for sides in self._heats_before if all(side.config in sides for side in running)]

    def _end(self, gains: Sequence[float], plan: _Plan) -> RaceEnd:
        """What ends a final that has so many blocks, if it ends with them."""
        may_end = len(gains) in _FINAL_LOOKS or (self._is_steady(plan.width) and _may_end_early(gains))
        if may_end and _is_decided(gains):
            return RaceEnd.CLEAR
        return RaceEnd.LENGTH if len(gains) == _BLOCKS_AT_MOST else RaceEnd.BUDGET

    def _is_steady(self, width: int) -> bool:
        """Whether blocks of so many steps differ little, by what was measured before the final: of energies the spread
        of steps tells nothing."""
        if self.measure is not SPEED:
            return False
        of_steps = self._deviation * math.sqrt(2.0 / width)
        return max(of_steps, self._spread_of_heats) <= _STEADY

    def _final_blocks(self, running: Sequence[Side], *, is_wide: bool) -> int:
        """How many blocks of a final will do, whichever of these runs it: by how fast their trials were, which tells
        nothing of their energy. is_wide: of sides as long as whole passes over the images."""
        gain = math.log(self.baseline.step_s / max(each.step_s for each in running))
        blocks = _blocks_enough(gain) if self.measure is SPEED else _FRESH_BLOCKS_AT_LEAST
        return blocks if blocks < _FRESH_BLOCKS_AT_LEAST or not is_wide else _WIDE_BLOCKS_AT_LEAST


@dataclass(frozen=True)
class _Plan:
    """heats: their blocks, at most. candidates: how many take part. width: steps that each side takes in a block.
    final: the blocks that the heats leave for it, at least."""

    heats: int
    candidates: int
    width: int
    fresh: bool
    final: int = _FRESH_BLOCKS_AT_LEAST


def _blocks_enough(gain: float) -> int:
    """How many blocks of a final will do for a gain, as ln of a ratio."""
    return min((few for enough, few in _FEWER_BLOCKS if gain > enough), default=_FRESH_BLOCKS_AT_LEAST)


def _may_end_early(gains: Sequence[float]) -> bool:
    """Whether so few blocks will do for what they gain, and agree so far that their interval says how much that is."""
    if not MIN_BLOCKS <= len(gains) == _blocks_enough(fmean(gains)):
        return False
    ratio, low, high = interval(gains)
    return high - low <= _WIDEST_OF_FEW * ratio


def _is_decided(gains: Sequence[float]) -> bool:
    """Whether more blocks would hardly change the verdict."""
    mean, error = fmean(gains), max(LEAST_ERROR, stdev(gains) / math.sqrt(len(gains)))
    is_tie = abs(mean) < INDIFFERENCE / 2 and abs(mean) + _TIED_STANDARD_ERRORS * error < 1.5 * INDIFFERENCE
    if len(gains) >= _TIED_FROM and is_tie:
        return True
    if abs(mean) > INDIFFERENCE and not is_shown(gains):
        return False
    return abs(abs(mean) - INDIFFERENCE) > _DECIDED_STANDARD_ERRORS * error


def _lost(candidate: TrainingConfig, failed: Trial) -> Verdict:
    return Verdict(
        kind=VerdictKind.NOT_MEASURED,
        candidate=candidate,
        sentence=(
            f"No verdict: {failed.config.label()} failed when it was measured again "
            f"({failed.outcome}: {failed.detail}); your baseline stands."
        ),
    )
