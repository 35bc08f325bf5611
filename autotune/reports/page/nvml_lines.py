"""NVML's samples as time lines, one panel per unit: of the profile's steps, and of each trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from autotune.nvml_record import DeviceTimeline, NvmlSeries
from autotune.records import RunRecord, Trial
from autotune.reports.page.embedding import rounded
from autotune.reports.plain import printable
from autotune.reports.si import GIB

__all__ = ["Band", "Line", "Panel", "Watched", "bands", "notes", "panels", "watched"]

_MB = 1e6
_IDLE = "idle"
# What was read of one field, at what times: (seconds, value).
Read = Callable[[str], list[tuple[float, float]]]
# (unit, (name, field of NvmlSample, what the unit is in the field's).)
_PANELS: tuple[tuple[str, tuple[tuple[str, str, float], ...]], ...] = (
    (
        "%",
        (
            ("a kernel runs", "gpu_busy_percent", 1.0),
            ("memory is busy", "memory_busy_percent", 1.0),
            ("SMs (GPM)", "sm_percent", 1.0),
            ("tensor cores (GPM)", "tensor_percent", 1.0),
            ("DRAM bandwidth (GPM)", "dram_bandwidth_percent", 1.0),
            ("occupancy (GPM)", "occupancy_percent", 1.0),
        ),
    ),
    ("GiB", (("memory used", "memory_used_bytes", float(GIB)),)),
    ("W", (("power", "power_watts", 1.0),)),
    ("MHz", (("SM clock", "sm_clock_mhz", 1.0), ("memory clock", "memory_clock_mhz", 1.0))),
    ("\N{DEGREE SIGN}C", (("temperature", "temperature_celsius", 1.0),)),
    ("MB/s", (("PCIe sent", "pcie_tx_bytes_per_s", _MB), ("PCIe received", "pcie_rx_bytes_per_s", _MB))),
)


@dataclass(frozen=True)
class Line:
    """x: seconds since the first sample; y: in the panel's unit. Samples that were not asked for it are left out."""

    name: str
    x: tuple[float | None, ...]
    y: tuple[float | None, ...]


@dataclass(frozen=True)
class Panel:
    unit: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Band:
    """A reason for the clocks to be where they were, other than idleness. spans: from and to, in seconds."""

    event: str
    spans: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Watched:
    """One stretch over which the GPU was sampled."""

    name: str
    panels: list[Panel]
    bands: list[Band]
    notes: list[str]


def watched(record: RunRecord) -> list[Watched]:
    """The profile's steps, then the trials: those over which something was read twice."""
    return [each for each in _watched(record) if each.panels]


def _watched(record: RunRecord) -> Iterator[Watched]:
    series = record.profile.nvml if record.profile else None
    if series:
        name = "the profile's unprofiled steps"
        yield Watched(name, panels(series), _series_bands(series), [printable(line) for line in notes(series)])
    for trial in record.trials:
        if trial.timeline:
            yield _trial(trial, trial.timeline)


def _trial(trial: Trial, timeline: DeviceTimeline) -> Watched:
    said = [f"Clock events: {', '.join(events)}."] if (events := _events(timeline.clock_events)) else []
    if trial.energy is not None:
        said.append(f"Energy over the timed steps: {trial.energy.joules:.1f} J.")
    return Watched(
        name=f"trial {trial.number}: {trial.config.label()} ({trial.stage})",
        panels=_panels(lambda field: _told(timeline.at_s, getattr(timeline, field, ()))),
        bands=bands(timeline.at_s, timeline.clock_events),
        notes=[printable(line) for line in said],
    )


def panels(series: NvmlSeries) -> list[Panel]:
    """The panels that have a line; a line has at least two samples."""
    at_s = [sample.at_s for sample in series.samples]
    return _panels(lambda field: _told(at_s, [getattr(sample, field) for sample in series.samples]))


def _panels(read: Read) -> list[Panel]:
    made = (
        Panel(unit, tuple(_line(name, points, size) for name, field, size in lines if len(points := read(field)) > 1))
        for unit, lines in _PANELS
    )
    return [panel for panel in made if panel.lines]


def _told(at_s: Sequence[float], values: Sequence[float | None]) -> list[tuple[float, float]]:
    """What was read, by seconds since the first sample. values: one per sample, or none at all."""
    return [(at - at_s[0], value) for at, value in zip(at_s, values, strict=False) if value is not None]


def _line(name: str, points: Sequence[tuple[float, float]], unit: float) -> Line:
    return Line(name, tuple(rounded(at) for at, _ in points), tuple(rounded(value / unit) for _, value in points))


def _series_bands(series: NvmlSeries) -> list[Band]:
    return bands([sample.at_s for sample in series.samples], [sample.clock_events for sample in series.samples])


def bands(at_s: Sequence[float], events: Sequence[tuple[str, ...] | None]) -> list[Band]:
    """When each reason held: from a sample that saw it to the next one."""
    found: dict[str, list[tuple[float, float]]] = {}
    asked = [(at - at_s[0], seen) for at, seen in zip(at_s, events, strict=False) if seen is not None]
    for (start, seen), (end, _) in pairwise(asked):
        for event in seen:
            spans = found.setdefault(event, [])
            if spans and spans[-1][1] == start:
                start_of_span, _ = spans.pop()
                spans.append((start_of_span, end))
            else:
                spans.append((start, end))
    return [
        Band(printable(event), tuple((round(start, 2), round(end, 2)) for start, end in spans))
        for event, spans in found.items()
        if event != _IDLE
    ]


def _events(seen: Sequence[tuple[str, ...] | None]) -> list[str]:
    return list(dict.fromkeys(event for events in seen for event in events or ()))


def notes(series: NvmlSeries) -> list[str]:
    """Why the clocks were where they were, the energy, what could not be read."""
    events = _events([sample.clock_events for sample in series.samples])
    lines = [f"Clock events: {', '.join(events)}."] if events else []
    if series.energy_joules is not None:
        lines.append(f"Energy over these samples: {series.energy_joules:.1f} J.")
    lines += [f"{missing.field}: not read ({missing.reason})." for missing in series.missing]
    return [*lines, f"The GPU was lost: {series.lost}."] if series.lost else lines
