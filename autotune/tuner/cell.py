"""A cell of the search: one combination of settings, and what is known of the memory that it takes."""

from __future__ import annotations

from autotune.config import SETTINGS, Precision, TrainingConfig
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.memory_fit import MemoryFit

__all__ = ["Cell"]


# Crashes, timeouts and losses that are not finite after which nothing more is tried of a cell.
_MISHAPS_AT_MOST = 2


class Cell:
    """settings: a config of the cell; cells of the same settings are equal, whatever their batch size."""

    def __init__(self, settings: TrainingConfig) -> None:
        self.settings = settings.model_copy(update={"batch_size": 1, "accumulation_steps": 1})
        self.memory = MemoryFit()
        self.largest = 0
        self.probed: set[int] = set()  # batch sizes whose memory was probed, whatever became of it
        self._mishaps = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and other.settings == self.settings

    def __hash__(self) -> int:
        return hash(self.settings)

    @property
    def is_half(self) -> bool:
        """Whether activations take half the memory that they take in float32."""
        return self.settings.precision in (Precision.FP16, Precision.BF16)

    def settings_shared_with(self, other: Cell) -> int:
        """How many settings two cells have in common."""
        return sum(getattr(self.settings, knob.name) == getattr(other.settings, knob.name) for knob in SETTINGS)

    def take(self, trial: Trial) -> None:
        """Learn from a trial of the cell.

        A timed one that failed otherwise than for memory fails its batch, since smaller ones may go well, and a second
        one ends the cell. A probe of a small batch does not: live batch norm cannot train on a single image. One that
        took too long ends it too."""
        batch = trial.config.batch_size
        if trial.stage is Stage.MEMORY:
            self.probed.add(batch)
        if trial.outcome in (Outcome.OUT_OF_MEMORY, Outcome.THRASH):
            self.memory.fail(batch)
            return
        if trial.outcome is not Outcome.OK:
            if trial.stage is Stage.MEMORY and trial.outcome is Outcome.TIMEOUT:
                self.memory.fail(0)
            elif trial.stage is not Stage.MEMORY:
                self._mishaps += 1
                self.memory.fail(0 if self._mishaps >= _MISHAPS_AT_MOST else batch)
            return
        if trial.peak_memory_bytes is not None:
            self.memory.add(batch, trial.peak_memory_bytes)
        if trial.step_ms or trial.gave_up:
            self.largest = max(self.largest, batch)
