"""The heats: candidates race each other, without the baseline, for who meets it in the final.

Who wins here looks faster than it is, as the best of several does. The final is measured anew, so that none of this
gets into its interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from autotune.intervals import INDIFFERENCE, t95
from autotune.records import Outcome, Trial
from autotune.tuner.side import Side
from autotune.tuner.spread import unexplained_variance

__all__ = ["HEATS_AT_LEAST", "HEATS_AT_MOST", "LEAST_ERROR", "Heats"]

# Blocks of heats: worth holding from so many on, and no more than so many.
HEATS_AT_LEAST, HEATS_AT_MOST = 3, 9
# After so many blocks the data are looked at, and after each from there on.
_FIRST_LOOK = 2
# A lead or a loss of this many standard errors is one. At the first look the error itself is hardly known: there it
# takes as many more as Student's t says for the degrees of freedom. Later ones do without: in replays of recorded
# grids that cost more heats and found no better configs.
_STANDARD_ERRORS, _NORMAL = 2.2, 1.96
# Standard errors are taken for no smaller than this, as ln of a ratio: three blocks may agree by luck.
LEAST_ERROR = 0.001


class Heats:
    """log_ratio: of two trials of the same images, how much better the second is, as ln. tie: the measured difference
    within which the preferred of two wins.
    """

    def __init__(self, sides: Sequence[Side], log_ratio: Callable[[Trial, Trial], float], tie: float) -> None:
        self.running = list(sides)
        self.failed: Trial | None = None  # the last that did
        self._out: list[Side] = []  # the last to leave first
        self._log_ratio = log_ratio
        self._tie = tie
        self._blocks: dict[Side, list[Trial]] = {side: [] for side in sides}

    def take(self, measured: Sequence[tuple[Side, Trial]]) -> None:
        """One block: every running side's trial. Who fails leaves; who is behind leaves too, once there is an error."""
        for side, trial in measured:
            if trial.outcome is Outcome.OK:
                self._blocks[side].append(trial)
            else:
                self.failed = trial
                self.running.remove(side)
        if self._held >= _FIRST_LOOK:
            self._drop_those_behind()

    @property
    def are_decided(self) -> bool:
        """Whether more blocks could change nothing: no other is likely to be better than the winner by what matters."""
        if len(self.running) < 2:
            return True
        if self._held < _FIRST_LOOK:
            return False
        winner, *others = self.ranking()[: len(self.running)]
        reach = self._reach()
        return all(self._lead(side, winner) + reach < max(INDIFFERENCE, self._tie) for side in others)

    def ranking(self) -> list[Side]:
        """The sides that did not fail, the winner first: the preferred of those that tie with the fastest."""
        if not self._held:
            return [*self.running, *self._out]
        fastest = self._fastest()
        leads = {side: self._lead(side, fastest) for side in self.running}
        # The preferred one may be behind by what does not matter, and by no more within the noise.
        surely = max(INDIFFERENCE, self._tie) - self._reach()
        tie = max(0.0, min(self._tie, surely))
        tied = [side for side in self.running if leads[side] >= -tie]
        winner = min(tied, key=lambda side: side.preference)
        others = sorted((side for side in self.running if side is not winner), key=lambda side: -leads[side])
        return [winner, *others, *self._out]

    @property
    def spread(self) -> float:
        """The standard deviation of a lead in one block, as ln; 0 where nothing tells."""
        return math.sqrt(2.0 * self._unexplained()) if self.running and self._held >= _FIRST_LOOK else 0.0

    @property
    def _held(self) -> int:
        """How many blocks were."""
        return len(self._blocks[self.running[0]]) if self.running else 0

    def _drop_those_behind(self) -> None:
        fastest = self._fastest()
        # A tie is never dropped: the preferred one may be behind.
        behind = max(self._reach(), self._tie)
        leads = {side: self._lead(side, fastest) for side in self.running}
        dropped = sorted((side for side in self.running if leads[side] < -behind), key=lambda side: -leads[side])
        self.running = [side for side in self.running if side not in dropped]
        self._out = [*dropped, *self._out]

    def _fastest(self) -> Side:
        reference = self.running[0]
        return max(self.running, key=lambda side: self._lead(side, reference))

    def _leads(self, side: Side, other: Side) -> list[float]:
        pairs = zip(self._blocks[other], self._blocks[side], strict=True)
        return [self._log_ratio(theirs, ours) for theirs, ours in pairs]

    def _lead(self, side: Side, other: Side) -> float:
        """By how much a side is better than another, as ln of a ratio."""
        return fmean(self._leads(side, other))

    def _reach(self) -> float:
        """How far from the measured lead the true one may lie; inf where nothing tells."""
        freedom = (len(self.running) - 1) * (self._held - 1)
        if not freedom:
            return math.inf
        errors = _STANDARD_ERRORS * (t95(freedom) / _NORMAL if self._held == _FIRST_LOOK else 1.0)
        return errors * self._error()

    def _error(self) -> float:
        """The standard error of a lead, from what block and side leave unexplained; two blocks at least tell it."""
        return max(LEAST_ERROR, math.sqrt(2.0 * self._unexplained() / self._held))

    def _unexplained(self) -> float:
        reference = self.running[0]
        return unexplained_variance([self._leads(side, reference) for side in self.running])
