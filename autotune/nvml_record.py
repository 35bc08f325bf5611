"""What NVML told about one GPU over a stretch of time."""

from __future__ import annotations

from enum import StrEnum

from autotune.record_base import Record

__all__ = ["GpuProcess", "NvmlMissing", "NvmlSample", "NvmlSeries", "PowerSource"]


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
