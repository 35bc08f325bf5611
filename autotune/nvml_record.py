"""What NVML told about one GPU over a stretch of time."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from autotune.record_base import Record

__all__ = ["DeviceTimeline", "GpuProcess", "NvmlMissing", "NvmlSample", "NvmlSeries", "PowerSource"]


class PowerSource(StrEnum):
    """What a power reading is: NVML_FI_DEV_POWER_INSTANT, or nvmlDeviceGetPowerUsage, a 1 s mean from Ampere on."""

    INSTANT = "instant"
    USAGE = "usage"


class NvmlMissing(Record):
    """What could not be read, with NVML's reason.

    field: a field of NvmlSample; `nvml` where there is no driver; `device` where no GPU has the UUID.
    """

    field: str
    reason: str


class GpuProcess(Record):
    """used_bytes: None where the driver does not tell one process's memory."""

    pid: int
    used_bytes: int | None = None


class NvmlSample(Record):
    """One look at the GPU. None: not asked this time (slow questions are asked less often), or missing.

    at_s: of the sampler's clock. gpu_busy_percent, memory_busy_percent: share of time in which any kernel ran, or
    memory was read or written, over a window of 1/6 to 1 s that the driver chooses.
    energy_millijoules: since the driver was loaded; it moves every 20 to 100 ms, so that a short window can see none.
    clock_events: why the clocks are where they are, idle included.
    pcie_*_bytes_per_s: over 20 ms. nvlink_*_bytes: data of all links, counted since the driver was loaded.
    other_processes: on the GPU, and neither this process nor descended from it.
    dram_bandwidth_percent, tensor_percent, sm_percent, occupancy_percent: GPM's hardware counters, of the peak, mean
    over the time since the previous reading; Hopper and later.
    """

    at_s: float
    gpu_busy_percent: int | None = None
    memory_busy_percent: int | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_watts: float | None = None
    power_source: PowerSource | None = None
    energy_millijoules: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_celsius: int | None = None
    clock_events: tuple[str, ...] | None = None
    pcie_tx_bytes_per_s: int | None = None
    pcie_rx_bytes_per_s: int | None = None
    nvlink_tx_bytes: int | None = None
    nvlink_rx_bytes: int | None = None
    other_processes: tuple[GpuProcess, ...] | None = None
    dram_bandwidth_percent: float | None = None
    tensor_percent: float | None = None
    sm_percent: float | None = None
    occupancy_percent: float | None = None


class NvmlSeries(Record):
    """Samples of one GPU, in order. lost: NVML's words where the GPU was lost, which ended the sampling."""

    device_uuid: str
    samples: tuple[NvmlSample, ...] = ()
    missing: tuple[NvmlMissing, ...] = ()
    lost: str | None = None

    @property
    def energy_joules(self) -> float | None:
        """Energy between the first and the last reading of the counter; None without two readings."""
        read = [sample.energy_millijoules for sample in self.samples if sample.energy_millijoules is not None]
        return (read[-1] - read[0]) / 1000.0 if len(read) > 1 else None


class DeviceTimeline(Record):
    """The GPU over one trial: some of NVML's samples, as columns, so that a run of hundreds of trials stays small.

    at_s: since the trial was ordered. Each other column has one entry per at_s, or is empty where nothing of it was
    read; None: not read this time. clock_events: those of the sample and of the ones left out before it.
    """

    at_s: tuple[float, ...]
    gpu_busy_percent: tuple[int | None, ...] = ()
    memory_busy_percent: tuple[int | None, ...] = ()
    memory_used_bytes: tuple[int | None, ...] = ()
    power_watts: tuple[float | None, ...] = ()
    sm_clock_mhz: tuple[int | None, ...] = ()
    memory_clock_mhz: tuple[int | None, ...] = ()
    temperature_celsius: tuple[int | None, ...] = ()
    clock_events: tuple[tuple[str, ...] | None, ...] = ()

    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        for name, column in self:
            if column and len(column) != len(self.at_s):
                raise ValueError(f"{name} has {len(column)} entries beside {len(self.at_s)} times")
        return self

    @classmethod
    def of(cls, samples: Sequence[NvmlSample], began_s: float, at_most: int) -> Self:
        """samples thinned evenly to at_most, the first and the last among them. began_s: of the samples' clock."""
        last = len(samples) - 1
        count = min(len(samples), at_most)
        places = [round(place * last / max(count - 1, 1)) for place in range(count)]
        kept = [samples[place] for place in places]
        read = {
            name: tuple(getattr(sample, name) for sample in kept)
            for name in cls.model_fields
            if name not in ("at_s", "clock_events")
        }
        starts = [0, *(place + 1 for place in places)]
        events = tuple(_events(samples[start : place + 1]) for start, place in zip(starts, places, strict=False))
        read["clock_events"] = events
        told = {name: column for name, column in read.items() if any(value is not None for value in column)}
        return cls.model_validate({"at_s": tuple(round(sample.at_s - began_s, 2) for sample in kept), **told})


def _events(samples: Sequence[NvmlSample]) -> tuple[str, ...] | None:
    """Each reason that any of the samples saw, once; None where none of them was asked."""
    asked = [sample.clock_events for sample in samples if sample.clock_events is not None]
    return tuple(dict.fromkeys(event for events in asked for event in events)) if asked else None
