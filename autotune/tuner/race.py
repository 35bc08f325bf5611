"""The race: candidate and baseline side by side, in blocks of the same images, which the verdict comes from."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from autotune.config import TrainingConfig
from autotune.records import Outcome, Stage, Trial, Verdict, VerdictKind
from autotune.tuner.bench import Bench, Order
from autotune.tuner.verdict import MIN_BLOCKS, paired_log_ratio, verdict

__all__ = ["Race", "Side"]

_BLOCKS_AT_MOST = 12
# Fresh processes for every block where at least this many such blocks can be paid.
_FRESH_BLOCKS_AT_LEAST = 5
# A side of a block lasts at least this long, so that the clock and the scheduler do not show.
_BLOCK_SIDE_S = 0.5


@dataclass(frozen=True)
class Side:
    """One config in a race. step_s: its step time; fresh_s: what a fresh child takes before its first timed step."""

    config: TrainingConfig
    step_s: float
    fresh_s: float


class Race:
    """A race of two sides; the same config twice is an A/A race, which shows the noise alone."""

    def __init__(self, bench: Bench, baseline: Side, candidate: Side, step_timeout_s: float) -> None:
        self.bench = bench
        self.sides = (baseline, candidate)
        self.step_timeout_s = step_timeout_s
        # Both sides time the same steps: as many as the faster side needs for its time.
        self.width = max(1, math.ceil(_BLOCK_SIDE_S / min(baseline.step_s, candidate.step_s)))

    def block_s(self, *, fresh: bool) -> float:
        """What a block takes: both sides, each with its start and warm-up where its child is fresh."""
        return sum(self.width * side.step_s + (side.fresh_s if fresh else 0.0) for side in self.sides)

    def least_s(self) -> float:
        """What a verdict takes at least."""
        return MIN_BLOCKS * self.block_s(fresh=not self.bench.keeps_sessions)

    def most_s(self) -> float:
        return _BLOCKS_AT_MOST * self.block_s(fresh=True)

    def run(self, *, remedy: str) -> Verdict:
        """Race within what is left of the budget; remedy: what to tell the user where that is too little.

        The number of blocks is fixed before the first, so that no look at the data decides when to stop.
        """
        baseline, candidate = (side.config for side in self.sides)
        blocks, fresh = self._plan()
        log_ratios = []
        dice = random.Random(self.bench.seed)
        for block in range(blocks):
            order = [0, 1] if dice.random() < 0.5 else [1, 0]
            measured = {side: self._measure(side, block, fresh) for side in order}
            failed = [trial for trial in measured.values() if trial.outcome is not Outcome.OK]
            if failed:
                return _lost(candidate, failed[0])
            log_ratios.append(paired_log_ratio(measured[0], measured[1]))
        return verdict(baseline, candidate, log_ratios, remedy=remedy)

    def _plan(self) -> tuple[int, bool]:
        """(number of blocks, whether each gets fresh children). Differences between processes are part of the noise
        that the interval should hold, so children are kept through the race only where time is short."""
        affordable = int(self.bench.remaining_s / self.block_s(fresh=True))
        fresh = not self.bench.keeps_sessions or affordable >= _FRESH_BLOCKS_AT_LEAST
        if not fresh:
            affordable = int(self.bench.remaining_s / self.block_s(fresh=False))
        if affordable == MIN_BLOCKS - 1:
            # One block over the budget is a small price for having a verdict at all.
            affordable = MIN_BLOCKS
        return (min(_BLOCKS_AT_MOST, affordable) if affordable >= MIN_BLOCKS else 0), fresh

    def _measure(self, side: int, block: int, fresh: bool) -> Trial:
        config = self.sides[side].config
        if fresh:
            self.bench.release(config)
        return self.bench.measure(
            Order(
                Stage.RACE,
                config,
                range(block * self.width, (block + 1) * self.width),
                block=2 * block + side,
                keep=not fresh,
                step_timeout_s=self.step_timeout_s,
            )
        )


def _lost(candidate: TrainingConfig, failed: Trial) -> Verdict:
    return Verdict(
        kind=VerdictKind.NOT_MEASURED,
        candidate=candidate,
        sentence=(
            f"No verdict: {failed.config.label()} failed when it was measured again "
            f"({failed.outcome}: {failed.detail}); your baseline stands."
        ),
    )
