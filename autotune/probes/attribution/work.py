"""The device's time cut up exactly: each moment of it belongs to one piece of work, or the device was idle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotune.errors import TraceError
from autotune.probes.traces.events import ABSENT, Flags, Ints, Trace
from autotune.probes.traces.links import Links
from autotune.probes.traces.steps import TraceStep

__all__ = ["Work", "work_of"]


@dataclass(frozen=True, eq=False)
class Work:
    """Pieces of work, one a row: device events where the trace has them, operators' own time on a CPU.

    event: its row in the trace's device_events, ABSENT on a CPU. operator: the operator that it belongs to, or ABSENT.
    time_ns: the busy time that is its own; all rows sum to the union of the rows' intervals. Where two run at once the
    time is the one's that began first, and NCCL's only where nothing else ran.
    idle_before_ns: how long the device stood idle before it; host_wait_ns: the same where it had not been launched
    when the work before it ended, 0 otherwise. communication: NCCL's.
    steps_ns: what each step takes on the device.
    """

    event: Ints
    operator: Ints
    time_ns: Ints
    idle_before_ns: Ints
    host_wait_ns: Ints
    communication: Flags
    steps_ns: tuple[int, ...]

    @property
    def busy_ns(self) -> int:
        return int(self.time_ns.sum())

    @property
    def idle_ns(self) -> int:
        return sum(self.steps_ns) - self.busy_ns


def work_of(trace: Trace, links: Links, steps: tuple[TraceStep, ...], parent: Ints) -> Work:
    """The work in the steps of a trace; parent: the operator around each operator, or ABSENT.

    Raises TraceError where nothing ran in them.
    """
    work = _device_work(trace, links, steps) if trace.has_device_events else _operator_work(trace, steps, parent)
    if not work.busy_ns:
        raise TraceError(f"{trace.path}: nothing ran in its {len(steps)} steps; record the training step itself")
    return work


def _device_work(trace: Trace, links: Links, steps: tuple[TraceStep, ...]) -> Work:
    events = trace.device_events
    windows = _windows(steps)
    inside, start, end, opens = _clipped(events.start_ns, events.end_ns, windows)
    late = links.communication[inside]
    launch = links.launch[inside]
    time_ns, idle_ns, before = _shares(start, end, opens, late)
    launched_ns = np.append(trace.launches.start_ns, 0)[launch]
    waited = (launch != ABSENT) & (launched_ns > before)
    return Work(
        event=inside,
        operator=links.operator[inside],
        time_ns=time_ns,
        idle_before_ns=idle_ns,
        host_wait_ns=np.where(waited, idle_ns, 0),
        communication=late,
        steps_ns=tuple(step.end_ns - step.start_ns for step in steps),
    )


def _operator_work(trace: Trace, steps: tuple[TraceStep, ...], parent: Ints) -> Work:
    """On a CPU an operator's own time is what its inner operators leave; between operators Python runs."""
    operators = trace.operators
    outermost = np.flatnonzero(parent == ABSENT)
    chosen, start, end, opens = _clipped(operators.start_ns[outermost], operators.end_ns[outermost], _windows(steps))
    outermost = outermost[chosen]
    shares, gaps, _ = _shares(start, end, opens, np.zeros(len(outermost), dtype=bool))

    inner = np.flatnonzero(parent != ABSENT)
    own = operators.duration_ns.copy()
    np.subtract.at(own, parent[inner], operators.duration_ns[inner])
    own = np.maximum(own, 0)
    top = np.arange(len(parent))
    above = parent
    while (above != ABSENT).any():
        top = np.where(above != ABSENT, above, top)
        above = np.append(parent, ABSENT)[above]
    # What ran beside another thread's work has less than its duration to share out.
    share = np.zeros(len(parent), dtype=np.int64)
    share[outermost] = shares
    within = np.maximum(np.bincount(top, weights=own, minlength=len(parent)), 1.0)
    time_ns = np.where(share[top] == within[top], own, np.floor(own * (share[top] / within[top]))).astype(np.int64)
    rest = share - np.bincount(top, weights=time_ns, minlength=len(parent)).astype(np.int64)
    time_ns[outermost] += rest[outermost]

    idle_ns = np.zeros(len(parent), dtype=np.int64)
    idle_ns[outermost] = gaps
    rows = np.flatnonzero((time_ns > 0) | (idle_ns > 0))
    return Work(
        event=np.full(len(rows), ABSENT, dtype=np.int64),
        operator=rows,
        time_ns=time_ns[rows],
        idle_before_ns=idle_ns[rows],
        host_wait_ns=idle_ns[rows],
        communication=np.zeros(len(rows), dtype=bool),
        steps_ns=tuple(step.end_ns - step.start_ns for step in steps),
    )


def _windows(steps: tuple[TraceStep, ...]) -> list[tuple[int, int]]:
    """The stretches of time that the steps cover: steps that follow each other closely make one."""
    windows: list[tuple[int, int]] = []
    for step in sorted(steps, key=lambda step: step.start_ns):
        if windows and windows[-1][1] == step.start_ns:
            windows[-1] = (windows[-1][0], step.end_ns)
        elif step.end_ns > step.start_ns:
            windows.append((step.start_ns, step.end_ns))
    return windows


def _clipped(start: Ints, end: Ints, windows: list[tuple[int, int]]) -> tuple[Ints, Ints, Ints, Ints]:
    """The rows that begin in a window, in the order of their start: row, start, end cut at the window's, the window's
    own start."""
    opens, closes = (np.array(column, dtype=np.int64) for column in zip(*windows, strict=True))
    window = np.searchsorted(opens, start, side="right") - 1
    inside = np.flatnonzero((window >= 0) & (start < closes[window]))
    inside = inside[np.argsort(start[inside], kind="stable")]
    window = window[inside]
    return inside, start[inside], np.minimum(end[inside], closes[window]), opens[window]


def _shares(start: Ints, end: Ints, opens: Ints, late: Flags) -> tuple[Ints, Ints, Ints]:
    """For rows in the order of their start: the time that is each one's own, the idle time before it, and when the
    work before it ended. late: rows that get only the time in which no other row ran."""
    reach = np.maximum.accumulate(np.maximum(end, opens))
    before = np.maximum(np.append(opens[:1], reach[:-1]), opens)
    idle = np.maximum(start - before, 0)
    own = np.zeros(len(start), dtype=np.int64)
    first = np.flatnonzero(~late)
    own[first] = _uncovered(start[first], end[first])
    # Of the union of all, what the others do not cover.
    for row in np.flatnonzero(late).tolist():
        taken = np.flatnonzero((start < end[row]) & (end > start[row]) & (~late | (np.arange(len(start)) < row)))
        inside_start, inside_end = np.maximum(start[taken], start[row]), np.minimum(end[taken], end[row])
        order = np.argsort(inside_start, kind="stable")
        own[row] = end[row] - start[row] - int(_uncovered(inside_start[order], inside_end[order]).sum())
    return own, idle, before


def _uncovered(start: Ints, end: Ints) -> Ints:
    """What each interval covers that those before it do not; they come in the order of their start."""
    if not len(start):
        return np.zeros(0, dtype=np.int64)
    reach = np.maximum.accumulate(end)
    before = np.append(start[:1], reach[:-1])
    covered: Ints = np.maximum(end - np.maximum(start, before), 0)
    return covered
