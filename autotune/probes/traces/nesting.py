"""Which range encloses which, thread by thread."""

from __future__ import annotations

import numpy as np

from autotune.probes.traces.events import ABSENT, Ints, Spans

__all__ = ["enclosing", "parents"]


def enclosing(outer: Spans, inner: Spans) -> Ints:
    """For each row of inner the innermost row of outer that is open on its thread when it starts; or ABSENT.

    A range is open up to its end, the end left out: what starts where it ends is outside. Of ranges that start
    together the longest is the outermost, and one of outer before an equal one of inner.
    """
    found = np.full(len(inner), ABSENT, dtype=np.int64)
    pid, tid, start, end = (
        np.concatenate([getattr(outer, column), getattr(inner, column)])
        for column in ("pid", "tid", "start_ns", "end_ns")
    )
    order = np.lexsort((-end, start, tid, pid))  # stable: outer stands before inner
    thread: tuple[int, int] | None = None
    opened: list[tuple[int, int]] = []
    columns = (order, pid[order], tid[order], start[order], end[order])
    for row, process, number, begins, ends in zip(*(column.tolist() for column in columns), strict=True):
        if (process, number) != thread:
            thread, opened = (process, number), []
        while opened and opened[-1][0] <= begins:
            opened.pop()
        if row < len(outer):
            opened.append((ends, row))
        elif opened:
            found[row - len(outer)] = opened[-1][1]
    return found


def parents(spans: Spans) -> Ints:
    """For each row the innermost other row of the same table that is open on its thread when it starts; or ABSENT."""
    found = np.full(len(spans), ABSENT, dtype=np.int64)
    order = np.lexsort((-spans.end_ns, spans.start_ns, spans.tid, spans.pid))
    thread: tuple[int, int] | None = None
    opened: list[tuple[int, int]] = []
    columns = (order, *(column[order] for column in (spans.pid, spans.tid, spans.start_ns, spans.end_ns)))
    for row, process, number, begins, ends in zip(*(column.tolist() for column in columns), strict=True):
        if (process, number) != thread:
            thread, opened = (process, number), []
        while opened and opened[-1][0] <= begins:
            opened.pop()
        if opened:
            found[row] = opened[-1][1]
        opened.append((ends, row))
    return found
