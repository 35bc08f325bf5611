"""A side of the race."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.config import TrainingConfig

__all__ = ["Side"]


@dataclass(frozen=True)
class Side:
    """One config in a race. step_s: its step time; fresh_s: what a fresh child takes before its first timed step.

    preference: sort key among configs that tie.
    """

    config: TrainingConfig
    step_s: float
    fresh_s: float
    preference: tuple[object, ...] = ()
