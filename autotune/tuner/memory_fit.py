"""Peak memory against the batch size, for one cell of the search: a line that only chooses what to try next."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MemoryFit"]

# What is predicted within this share beyond the limit is tried: a line is not exacter than that.
_TRUSTED_TO = 1.03


class MemoryFit:
    """What was measured of a cell: peaks by batch size, and the batches that ran out of memory.

    A fit alone is never trusted: a batch counts as fitting once its own worst-case step has run.
    like: the fit of a cell that takes about the same, which stands in where too little is known of this one.
    """

    def __init__(self) -> None:
        self.peaks: dict[int, float] = {}
        self.failed: set[int] = set()
        self.like: MemoryFit | None = None

    def add(self, batch: int, peak_bytes: float) -> None:
        self.peaks[batch] = max(peak_bytes, self.peaks.get(batch, 0.0))

    def fail(self, batch: int) -> None:
        self.failed.add(batch)

    def predict(self, batch: int) -> float | None:
        """Peak bytes at a batch size, by the line through the two largest batches measured (the slope near the limit
        is the one that matters). Before two are known by the line of the cell that is like it, scaled to what is known
        of this one; else None. Never below what a smaller batch took."""
        if batch in self.peaks:
            return self.peaks[batch]
        known = sorted(self.peaks)[-2:]
        if len(known) < 2:
            return self._by_the_other(batch)
        (small, large), (low, high) = known, (self.peaks[each] for each in known)
        slope = max(0.0, (high - low) / (large - small))
        return high + slope * (batch - large)

    def _by_the_other(self, batch: int) -> float | None:
        expected = self.like.predict(batch) if self.like else None
        if self.like is None or expected is None:
            return None
        own = max(self.peaks, default=None)
        theirs = self.like.predict(own) if own is not None else None
        return expected * self.peaks[own] / theirs if own is not None and theirs else expected

    def beyond(self, batch: int) -> int | None:
        """The prediction for a batch larger than all that were measured, in whole bytes; None where there is none."""
        predicted = self.predict(batch)
        return None if predicted is None or batch <= max(self.peaks, default=0) else round(predicted)

    def candidate(self, sizes: Sequence[int], limit_bytes: float | None) -> int | None:
        """The largest of sizes that may fit: not beaten by a failure, and predicted within reach of the limit.

        None where even the smallest has failed or cannot fit."""
        below = min(self.failed, default=None)
        for size in sorted(sizes, reverse=True):
            if below is not None and size >= below:
                continue
            predicted = self.predict(size)
            reach = 1.0 if size in self.peaks else _TRUSTED_TO
            if limit_bytes is None or predicted is None or predicted <= reach * limit_bytes:
                return size
        return None
