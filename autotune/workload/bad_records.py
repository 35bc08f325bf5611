"""What happens to a bad record: the run stops at it, or counts it and goes on."""

from __future__ import annotations

from autotune.errors import DataError

__all__ = ["BadRecords"]


class BadRecords:
    """Stops at the first bad record, or with skip counts them all."""

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.count = 0

    def meet(self, problem: str) -> None:
        """Raises DataError with the problem, unless bad records are skipped."""
        if not self.skip:
            raise DataError(f"{problem}; fix it, or pass --skip-bad to leave it out")
        self.count += 1
