"""The profiler's steps: how long each took on the device, how much of it the device was busy, and when on the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotune.errors import TraceError
from autotune.probes.traces.events import ABSENT, DeviceEvents, Ints, Spans, Trace
from autotune.probes.traces.links import Links

__all__ = ["TraceStep", "steps_of"]

_STEP = "ProfilerStep#"
_WHOLE_TRACE = "whole trace"


@dataclass(frozen=True)
class TraceStep:
    """One step.

    start_ns, end_ns: on the device; where the trace has no device events, on the host. busy_ns: the union of its device
    events' intervals; None where there are none. host_start_ns, host_end_ns: the host's range of the step.
    is_whole_trace: nobody marked steps in the trace, so that this one may be several, or a part of one.
    """

    name: str
    start_ns: int
    end_ns: int
    busy_ns: int | None
    host_start_ns: int
    host_end_ns: int
    is_whole_trace: bool = False

    @property
    def step_ms(self) -> float:
        return (self.end_ns - self.start_ns) / 1e6

    @property
    def idle_ns(self) -> int | None:
        """Time in which nothing ran on the device."""
        return None if self.busy_ns is None else self.end_ns - self.start_ns - self.busy_ns


@dataclass(frozen=True, eq=False)
class _HostRanges:
    names: list[str]
    opens: Ints
    closes: Ints

    def of(self, times_ns: Ints) -> Ints:
        """The range that each time belongs to, which lasts up to the next one; ABSENT outside of all."""
        found = np.searchsorted(self.opens, times_ns, side="right") - 1
        return np.where(times_ns < self.closes[-1], found, ABSENT)

    def rows(self, rows: Ints) -> _HostRanges:
        return _HostRanges([self.names[row] for row in rows.tolist()], self.opens[rows], self.closes[rows])


def steps_of(trace: Trace, links: Links) -> tuple[TraceStep, ...]:
    """The steps of a trace, as the device saw them.

    The host runs ahead of the device: its range `ProfilerStep#` can end long before the step's work does (after 35 ms
    of a step of 96 ms), so the range only says which launches belong to the step: those up to the next range, and for
    the last step those in its own. On the device a step lasts from the first event launched in it to the first event
    launched in the next one; the last step, to the end of its last event. Events that run past the end count to the
    end. With several devices, busy is while any of them is.

    Without device events the steps are the host's ranges. Without ranges the whole trace is one step. A range in which
    nothing ran is no step, nor is one that took no time on the device: the profiler opens one more after the last, in
    which a loader may still stack a batch. Raises TraceError where no operator ran in any, or none took any time.
    """
    ranges = np.flatnonzero(trace.starts_with(trace.annotations, _STEP))
    host = _marked(trace, links, ranges) if len(ranges) else _whole(trace)
    starts, ends = host.opens, host.closes
    if trace.has_device_events:
        starts, ends = _on_device(trace, links, host) if len(ranges) else _extent(trace.device_events)
    busy = _busy_ns(trace.device_events, starts, ends) if trace.has_device_events else [None] * len(host.names)
    columns = (starts.tolist(), ends.tolist(), busy, host.opens.tolist(), host.closes.tolist())
    steps = tuple(
        TraceStep(name, start, end, busy_ns, opens, closes, not len(ranges))
        for name, start, end, busy_ns, opens, closes in zip(host.names, *columns, strict=True)
        if end > start
    )
    if not steps:
        raise TraceError(f"{trace.path}: its steps took no time; record the training step itself")
    return steps


def _marked(trace: Trace, links: Links, ranges: Ints) -> _HostRanges:
    """The ranges that the profiler's step() left, less those in which nothing ran."""
    spans = trace.annotations.rows(ranges[np.argsort(trace.annotations.start_ns[ranges], kind="stable")])
    marked = _HostRanges([trace.names[code] for code in spans.name.tolist()], spans.start_ns, spans.end_ns)
    with_operators = marked.of(trace.operators.start_ns)
    if not (with_operators != ABSENT).any():
        raise TraceError(
            f"{trace.path}: no operator ran in its steps ({len(ranges)} of them); record with ProfilerActivity.CPU, "
            "and call the profiler's step() after each training step"
        )
    launched = marked.of(trace.launches.start_ns[links.launch[links.launch != ABSENT]])
    used = np.union1d(with_operators, launched)
    return marked.rows(used[used != ABSENT])


def _whole(trace: Trace) -> _HostRanges:
    if not len(trace.operators):
        raise TraceError(f"{trace.path}: 0 steps and 0 operators; record with ProfilerActivity.CPU")
    return _HostRanges([_WHOLE_TRACE], *_extent(trace.operators))


def _extent(spans: Spans) -> tuple[Ints, Ints]:
    return spans.start_ns.min(keepdims=True), spans.end_ns.max(keepdims=True)


def _on_device(trace: Trace, links: Links, host: _HostRanges) -> tuple[Ints, Ints]:
    """Start and end of each step on the device. One that launched nothing takes no time there."""
    linked = np.flatnonzero(links.launch != ABSENT)
    step = host.of(trace.launches.start_ns[links.launch[linked]])
    linked, step = linked[step != ABSENT], step[step != ABSENT]
    if not len(linked):
        raise TraceError(
            f"{trace.path}: no device event was launched in a step; record with ProfilerActivity.CPU and CUDA"
        )
    last_end = trace.device_events.end_ns[linked].max()
    starts = np.full(len(host.opens) + 1, last_end)
    np.minimum.at(starts, step, trace.device_events.start_ns[linked])
    starts = np.minimum.accumulate(starts[::-1])[::-1]
    return starts[:-1], starts[1:]


def _busy_ns(events: DeviceEvents, starts: Ints, ends: Ints) -> list[int]:
    busy_start, busy_end = _union(events.start_ns, events.end_ns)
    found = []
    for start, end in zip(starts, ends, strict=True):
        clipped = np.minimum(busy_end, end) - np.maximum(busy_start, start)
        found.append(int(clipped[clipped > 0].sum()))
    return found


def _union(start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """The disjoint intervals that cover the given ones, in order."""
    order = np.argsort(start)
    start, reach = start[order], np.maximum.accumulate(end[order])
    begins = np.append(True, start[1:] > reach[:-1])
    return start[begins], reach[np.append(begins[1:], True)]
