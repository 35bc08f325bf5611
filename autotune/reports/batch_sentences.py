"""A hint where the effective batch leaves few batch sizes to choose from."""

from __future__ import annotations

from itertools import pairwise

from autotune.records import Outcome, RunRecord

__all__ = ["divisors_hint"]

# From one batch size to the next larger: a wider step may leave much of the memory, and so of the speed, unused.
_WIDEST_STEP = 3.0
# A neighbour is named where its own steps are no wider than this.
_GOOD_STEP = 2.0


def divisors_hint(record: RunRecord) -> str | None:
    """None where the divisors lie close together, or where the whole effective batch is trained with at once."""
    if record.job is None or record.recommendation is None:
        return None
    effective = record.job.effective_batch
    short = any(trial.outcome in (Outcome.OUT_OF_MEMORY, Outcome.THRASH) for trial in record.trials)
    if not short and record.recommendation.config.batch_size == effective:
        return None
    if _widest_step(effective) <= _WIDEST_STEP:
        return None
    sizes = [str(size) for size in _divisors(effective)]
    below = next(size for size in range(effective - 1, 0, -1) if _widest_step(size) <= _GOOD_STEP)
    above = next(size for size in range(effective + 1, 2 * effective + 1) if _widest_step(size) <= _GOOD_STEP)
    return (
        f"effective batch {effective} can be split only into batches of {', '.join(sizes[:-1])} or {sizes[-1]}; "
        f"{below} or {above} would allow more of them (--tuned-batch {effective} then says what becomes of the "
        "learning rate)"
    )


def _divisors(whole: int) -> list[int]:
    return [size for size in range(1, whole + 1) if whole % size == 0]


def _widest_step(whole: int) -> float:
    return max((large / small for small, large in pairwise(_divisors(whole))), default=1.0)
