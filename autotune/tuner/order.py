"""An order: one measurement that a search asks a bench for."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.config import TrainingConfig
from autotune.records import Stage

__all__ = ["Order"]


@dataclass(frozen=True)
class Order:
    """One measurement that a search asks for.

    steps: which of the replayed batches to time, in order; none for the worst case's memory alone. keep: leave the
    child alive for more, where the bench can. give_up_ms: a settled step slower than this ends the trial early.
    usual_worst_case_ms: what the worst case takes the baseline; 0 where it is not known.
    step_timeout_s: the longest a step may take; in a check of the numerics, all of them. needs_energy: a trial whose
    timed steps gave no energy is unsupported. reserve_s: what of the budget a repeat of a disturbed trial must leave.
    predicted_bytes: the peak that is expected. most_bytes: a peak beyond it counts as out of memory; None: what the
    device gives.
    watch_tensors: look for the largest tensor, where no step is timed. sides: all of its block, in order, which belong
    together in time; none outside heats and finals.
    """

    stage: Stage
    config: TrainingConfig
    steps: range
    block: int | None = None
    keep: bool = False
    give_up_ms: float | None = None
    usual_worst_case_ms: float = 0.0
    step_timeout_s: float = 60.0
    needs_energy: bool = False
    reserve_s: float = 0.0
    predicted_bytes: int | None = None
    most_bytes: int | None = None
    watch_tensors: bool = False
    sides: tuple[TrainingConfig, ...] = ()
