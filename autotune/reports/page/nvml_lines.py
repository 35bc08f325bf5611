"""NVML's samples as time lines, one panel per unit."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.nvml_record import NvmlSample, NvmlSeries
from autotune.reports.page.embedding import rounded
from autotune.reports.si import GIB

__all__ = ["Line", "Panel", "notes", "panels"]

_MB = 1e6
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


def panels(series: NvmlSeries) -> list[Panel]:
    """The panels that have a line; a line has at least two samples."""
    made = (
        Panel(unit, tuple(line for entry in lines if len((line := _line(series.samples, *entry)).x) > 1))
        for unit, lines in _PANELS
    )
    return [panel for panel in made if panel.lines]


def _line(samples: tuple[NvmlSample, ...], name: str, field: str, unit: float) -> Line:
    read = [(sample.at_s, value) for sample in samples if (value := getattr(sample, field)) is not None]
    start = samples[0].at_s if samples else 0.0
    return Line(name, tuple(rounded(at - start) for at, _ in read), tuple(rounded(value / unit) for _, value in read))


def notes(series: NvmlSeries) -> list[str]:
    """Why the clocks were where they were, the energy, what could not be read."""
    events = dict.fromkeys(event for sample in series.samples for event in sample.clock_events or ())
    lines = [f"Clock events: {', '.join(events)}."] if events else []
    if series.energy_joules is not None:
        lines.append(f"Energy over these samples: {series.energy_joules:.1f} J.")
    lines += [f"{missing.field}: not read ({missing.reason})." for missing in series.missing]
    return [*lines, f"The GPU was lost: {series.lost}."] if series.lost else lines
