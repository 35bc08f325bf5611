"""The profiler's steps on the device: how long each took, and how much of it the device was busy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotune.errors import TraceError
from autotune.probes.traces.events import ABSENT, Ints, Trace
from autotune.probes.traces.links import Links

__all__ = ["TraceStep", "steps_of"]

_STEP = "ProfilerStep#"


@dataclass(frozen=True)
class TraceStep:
    """One step. busy_ns: the union of its device events' intervals; None where the trace has no device events."""

    name: str
    start_ns: int
    end_ns: int
    busy_ns: int | None

    @property
    def step_ms(self) -> float:
        return (self.end_ns - self.start_ns) / 1e6

    @property
    def idle_ns(self) -> int | None:
        """Time in which nothing ran on the device."""
        return None if self.busy_ns is None else self.end_ns - self.start_ns - self.busy_ns


def steps_of(trace: Trace, links: Links) -> tuple[TraceStep, ...]:
    """The steps of a trace, as the device saw them.

    The host runs ahead of the device: its range `ProfilerStep#` can end long before the step's work does (after 35 ms
    of a step of 96 ms), so the range only says which launches belong to the step: those up to the next range, and for
    the last step those in its own. On the device a step lasts from the first event launched in it to the first event
    launched in the next one; the last step, to the end of its last event. Events that run past the end count to the
    end. With several devices, busy is while any of them is.

    Without device events the steps are the host's ranges. Raises TraceError for a trace of 0 steps.
    """
    ranges = np.flatnonzero(trace.starts_with(trace.annotations, _STEP))
    ranges = ranges[np.argsort(trace.annotations.start_ns[ranges])]
    if not len(ranges):
        raise TraceError(
            f"{trace.path}: 0 steps; call the profiler's step() after each training step, and record again"
        )
    names = [trace.names[code] for code in trace.annotations.name[ranges]]
    opens, closes = trace.annotations.start_ns[ranges], trace.annotations.end_ns[ranges]
    if not trace.has_device_events:
        return tuple(
            TraceStep(name, int(start), int(end), None) for name, start, end in zip(names, opens, closes, strict=True)
        )
    starts, ends = _on_device(trace, links, opens, int(closes[-1]))
    busy_start, busy_end = _union(trace.device_events.start_ns, trace.device_events.end_ns)
    found = []
    for name, start, end in zip(names, starts.tolist(), ends.tolist(), strict=True):
        clipped = np.minimum(busy_end, end) - np.maximum(busy_start, start)
        found.append(TraceStep(name, start, end, int(clipped[clipped > 0].sum())))
    return tuple(found)


def _on_device(trace: Trace, links: Links, opens: Ints, closes: int) -> tuple[Ints, Ints]:
    """Start and end of each step on the device. A step that launched nothing takes no time there."""
    linked = np.flatnonzero(links.launch != ABSENT)
    launched_ns = trace.launches.start_ns[links.launch[linked]]
    step = np.searchsorted(opens, launched_ns, side="right") - 1
    inside = (step >= 0) & (launched_ns < closes)
    linked, step = linked[inside], step[inside]
    if not len(linked):
        raise TraceError(
            f"{trace.path}: no device event was launched in a step; record with ProfilerActivity.CPU and CUDA"
        )
    last_end = trace.device_events.end_ns[linked].max()
    starts = np.full(len(opens) + 1, last_end)
    np.minimum.at(starts, step, trace.device_events.start_ns[linked])
    starts = np.minimum.accumulate(starts[::-1])[::-1]
    return starts[:-1], starts[1:]


def _union(start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """The disjoint intervals that cover the given ones, in order."""
    order = np.argsort(start)
    start, reach = start[order], np.maximum.accumulate(end[order])
    begins = np.append(True, start[1:] > reach[:-1])
    return start[begins], reach[np.append(begins[1:], True)]
