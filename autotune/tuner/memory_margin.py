"""What of the device's memory stays free for batches that no trial has seen."""

from __future__ import annotations

__all__ = ["in_race", "in_trial"]

# The share that a recommended config may take in the trial that it is chosen by, which holds the worst case.
_IN_TRIAL = 0.9
# In the race's processes, over more batches, the allocator may take half of what that leaves: the same config's peak
# differs from process to process.
_IN_RACE = 0.95


def in_trial(memory_bytes: int | None) -> float | None:
    """How many bytes a config may take in its own trial; None where there is no limit."""
    return None if memory_bytes is None else _IN_TRIAL * memory_bytes


def in_race(memory_bytes: int | None) -> int | None:
    """How many bytes one that was chosen may take in the heats and the final; None where there is no limit."""
    return None if memory_bytes is None else int(_IN_RACE * memory_bytes)
