"""The climb: down the batch-size ladders of all cells within reach of the leader."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from autotune.config import TrainingConfig
from autotune.records import Trial
from autotune.tuner.cell import Cell
from autotune.tuner.ladder import Ladder
from autotune.tuner.standings import Standings

__all__ = ["Climb"]

# Ladders are climbed down on every cell within this of the leader, with no more trials than this in all.
_WITHIN_REACH = math.log(1.25)
_TRIALS_AT_MOST = 40
_REACH_ERRORS, _CLIMBED_AT_LEAST = 3.0, 2
# So far a cell may be behind another, as ln of a ratio, for each rung that it has climbed down less, and be the next.
_A_RUNG = 0.02


class Climb:
    """try_: measures a config of a cell; None where the budget has no room left. given_up: what a trial
    that was given up has brought at the most."""

    def __init__(
        self, standings: Standings, try_: Callable[[Cell, TrainingConfig], Trial | None], given_up: Callable[[], float]
    ) -> None:
        self._standings = standings
        self._try = try_
        self._given_up = given_up
        self._ladders: dict[Cell, Ladder] = {}
        self._trials = self._in_all = 0
        self._left: list[Ladder] = []  # unfinished, when there were no more trials for them

    def begin_anew(self) -> None:
        """As many trials from here on as from the beginning."""
        self._trials = 0

    def notes(self) -> list[str]:
        """What was left out for the number of trials."""
        if not self._left:
            return []
        cells = ", ".join(ladder.cell.settings.settings_label() for ladder in self._left)
        return [f"batch sizes: after {self._in_all} trials of them smaller batches were left out of {cells}"]

    def down(self, cells: Sequence[Cell], sizes: Sequence[int]) -> None:
        """Go on where the last climb of a cell ended, each from its largest batch.

        Those that have brought most are ahead of the others by a few rungs: where the budget or the number of trials
        runs out, the lowest rungs are left out, and more of them of what lags behind.
        """
        self._left = []
        near = self._within_reach(cells)
        for cell, gain in near.items():
            self._ladders.setdefault(cell, Ladder(cell, gain, sizes))
        ladders = [self._ladders[cell] for cell in near]
        while ladders := [ladder for ladder in ladders if not ladder.ended]:
            ladder = max(ladders, key=lambda each: each.best - _A_RUNG * each.rungs)
            effective_batch = self._standings.baseline.config.images_per_step
            config = ladder.cell.settings.at_batch_size(ladder.next_size, effective_batch)
            trial = self._standings.trials.get(config)
            if trial is None:
                if self._trials >= _TRIALS_AT_MOST:
                    self._left = ladders
                    return
                trial = self._try(ladder.cell, config)
                self._trials += trial is not None
                self._in_all += trial is not None
            if trial is None:
                # The rest of this one costs as much.
                ladders.remove(ladder)
                continue
            gain = self._given_up() if trial.gave_up else self._standings.worth(trial)
            ladder.take(gain, self._standings.trial_error, gave_up=trial.gave_up)

    def _within_reach(self, cells: Sequence[Cell]) -> dict[Cell, float]:
        """The cells to climb down on, and what each brings at its largest batch, the best first."""
        gains = {cell: self._gain_at_largest(cell) for cell in cells}
        reach = max(gains.values()) - max(_WITHIN_REACH, _REACH_ERRORS * self._standings.trial_error)
        ranked = sorted((cell for cell in cells if gains[cell] > -math.inf), key=lambda cell: -gains[cell])
        near = [cell for place, cell in enumerate(ranked) if place < _CLIMBED_AT_LEAST or gains[cell] >= reach]
        return {cell: gains[cell] for cell in near}

    def _gain_at_largest(self, cell: Cell) -> float:
        """At the largest batch that leaves the margin of memory; -inf where nothing of it does."""
        own = self._standings.of(cell)
        return self._standings.gain(max(own, key=lambda trial: trial.config.batch_size)) if own else -math.inf
