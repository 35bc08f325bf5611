"""The search's interface: it asks a Bench for measurements and returns Findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from autotune.config import TrainingConfig
from autotune.records import Recommended
from autotune.tuner.bench import Bench
from autotune.tuner.space import Space

__all__ = ["Findings", "Search"]


@dataclass(frozen=True)
class Findings:
    """What a search found. not_tried: configs that the budget left no time for. notes: what else a user must know, a
    sentence each."""

    baseline: TrainingConfig
    recommendation: Recommended
    not_tried: tuple[TrainingConfig, ...]
    notes: tuple[str, ...] = ()


class Search(Protocol):
    name: str

    def run(self, bench: Bench, space: Space) -> Findings:
        """Raises AutotuneError where the baseline itself cannot be measured."""
        ...
