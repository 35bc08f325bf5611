"""A ladder: the batch sizes of a cell from its largest downwards, until going on brings nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.tuner.cell import Cell

__all__ = ["Ladder"]

# It ends after two rungs that are slower than the cell's best by more than the loss, or one by more than the great
# loss, which a smaller batch hardly makes good, or after three in turn that gain next to nothing on it. All as ln of a
# ratio; where steps are noisy, a loss is one of so many standard errors.
_LOSS, _LOST_AT_MOST = 0.02, 2
_GREAT_LOSS = 0.25
_GAIN, _WITHOUT_AT_MOST = 0.005, 3
_SURE_ERRORS = 2.0


class Ladder:
    """best: ln of the speed at the cell's largest batch, over any reference."""

    def __init__(self, cell: Cell, best: float, sizes: Sequence[int]) -> None:
        self.cell = cell
        self.best = best
        self.rungs = 0
        self._below = [size for size in sorted(sizes, reverse=True) if size < cell.largest]
        self._lost = 0
        self._without = 0

    @property
    def ended(self) -> bool:
        return not self._below or self._lost >= _LOST_AT_MOST or self._without >= _WITHOUT_AT_MOST

    @property
    def next_size(self) -> int:
        """The next rung's batch size."""
        return self._below[0]

    def take(self, gain: float, error: float, *, gave_up: bool = False) -> None:
        """What the next rung brought, in the unit of best; -inf where it failed, and at the most where it was given up.
        error: the standard error of what it brought beside another's."""
        self._below.pop(0)
        self.rungs += 1
        loss = max(_LOSS, _SURE_ERRORS * error)
        self._lost += gave_up or gain < self.best - loss
        # What failed may have failed for its own size alone.
        if -math.inf < gain < self.best - max(_GREAT_LOSS, loss):
            self._lost = _LOST_AT_MOST
        # Where losses show late, gains do too.
        gains = not gave_up and gain > self.best + _GAIN - (loss - _LOSS)
        self._without = 0 if gains else self._without + 1
        if not gave_up:
            self.best = max(self.best, gain)
