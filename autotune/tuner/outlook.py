"""What an untried combination of settings is expected to bring: the effects of its settings, added up.

Settings interact, so that this only says what to try first where time may run out; it drops nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from autotune.config import SETTINGS, TrainingConfig

__all__ = ["Outlook"]

# Rounds of fitting one setting's effects after the other, which settle long before.
_ROUNDS = 30


class Outlook:
    """Main effects on ln of the speed, by least squares over the combinations that were tried."""

    def __init__(self) -> None:
        self._gains: dict[TrainingConfig, float] = {}
        self._fitted: tuple[float, list[dict[object, float]]] | None = None

    def take(self, settings: TrainingConfig, gain: float) -> None:
        """What a combination brought, as ln of a ratio to any reference; one that failed is not told."""
        self._gains[settings] = gain
        self._fitted = None

    def expect(self, settings: TrainingConfig) -> float:
        """ln of the same ratio; infinite where one of its settings was tried in no combination yet."""
        levels = _levels(settings)
        if any(all(_levels(each)[place] != level for each in self._gains) for place, level in enumerate(levels)):
            return math.inf
        middle, effects = self._fitted = self._fitted or self._fit()
        return middle + _sum(effects, levels)

    def _fit(self) -> tuple[float, list[dict[object, float]]]:
        rows = [(_levels(settings), gain) for settings, gain in self._gains.items()]
        middle = fmean(gain for _, gain in rows)
        effects = [dict.fromkeys((levels[place] for levels, _ in rows), 0.0) for place in range(len(SETTINGS))]
        for _ in range(_ROUNDS):
            for place, of_level in enumerate(effects):
                for level in of_level:
                    rest = [
                        gain
                        - middle
                        - sum(effects[other][levels[other]] for other in range(len(effects)) if other != place)
                        for levels, gain in rows
                        if levels[place] == level
                    ]
                    of_level[level] = fmean(rest)
        return middle, effects


def _sum(effects: Sequence[dict[object, float]], levels: Sequence[object]) -> float:
    return sum(of_level[level] for of_level, level in zip(effects, levels, strict=True))


def _levels(settings: TrainingConfig) -> Sequence[object]:
    return [getattr(settings, knob.name) for knob in SETTINGS]
