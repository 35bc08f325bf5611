"""A cell of the search: one combination of settings, and what is known of the memory that it takes."""

from __future__ import annotations

from autotune.config import TrainingConfig
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.memory_fit import MemoryFit

__all__ = ["Cell"]


class Cell:
    """settings: a config of the cell; cells of the same settings are equal, whatever their batch size."""

    def __init__(self, settings: TrainingConfig) -> None:
        self.settings = settings.model_copy(update={"batch_size": 1, "accumulation_steps": 1})
        self.memory = MemoryFit()
        self.largest = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and other.settings == self.settings

    def __hash__(self) -> int:
        return hash(self.settings)

    def take(self, trial: Trial) -> None:
        """Learn from a trial of the cell. A timed one that failed otherwise than for memory ends the cell; a probe of a
        small batch does not: live batch norm, for one, cannot train on a single image."""
        batch = trial.config.batch_size
        if trial.outcome in (Outcome.OUT_OF_MEMORY, Outcome.THRASH):
            self.memory.fail(batch)
            return
        if trial.outcome is not Outcome.OK:
            if trial.stage is not Stage.MEMORY:
                self.memory.fail(0)
            return
        if trial.peak_memory_bytes is not None:
            self.memory.add(batch, trial.peak_memory_bytes)
        if trial.step_ms or trial.gave_up:
            self.largest = max(self.largest, batch)
