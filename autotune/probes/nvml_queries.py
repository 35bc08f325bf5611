"""The questions that NVML is asked about a GPU, and how often each may be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pynvml

from autotune.nvml_record import GpuProcess, PowerSource
from autotune.probes.clock_events import clock_events
from autotune.probes.gpm import GPM_FIELDS, GpmSamples
from autotune.probes.own_processes import is_other

__all__ = ["ALL", "ENERGY", "INSTANT_POWER", "STATE", "Gpu", "Query"]

_ALL_LINKS = 0xFFFFFFFF  # nvml.h: the scope that adds up the NVLinks' counters


@dataclass
class Gpu:
    """A GPU's handle, the time of the sample, and what answers need remembered.

    others: by process id, whether it is none of ours: looked up once, since it costs more than the question.
    """

    handle: Any
    at_s: float = 0.0
    gpm: GpmSamples = field(default_factory=GpmSamples)
    others: dict[int, bool] = field(default_factory=dict)


Way = Callable[[Gpu], Mapping[str, Any]]


@dataclass(frozen=True)
class Query:
    """One question to the driver, for some fields of NvmlSample.

    ways: the first that driver and bindings know is used. Each gives values by field, with an NVMLError in the place of
    a value that is missing, or raises it where all are. every_s: 0 for every sample.
    """

    fields: tuple[str, ...]
    ways: tuple[Way, ...]
    every_s: float = 0.0


def _busy(gpu: Gpu) -> Mapping[str, Any]:
    shares = pynvml.nvmlDeviceGetUtilizationRates(gpu.handle)
    return {"gpu_busy_percent": shares.gpu, "memory_busy_percent": shares.memory}


def _memory(gpu: Gpu) -> Mapping[str, Any]:
    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu.handle)
    return {"memory_used_bytes": memory.used, "memory_total_bytes": memory.total}


def _power_instant(gpu: Gpu) -> Mapping[str, Any]:
    (answer,) = pynvml.nvmlDeviceGetFieldValues(gpu.handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
    if answer.nvmlReturn:
        raise pynvml.NVMLError(answer.nvmlReturn)
    return {"power_watts": answer.value.uiVal / 1000.0, "power_source": PowerSource.INSTANT}


def _power_usage(gpu: Gpu) -> Mapping[str, Any]:
    return {"power_watts": pynvml.nvmlDeviceGetPowerUsage(gpu.handle) / 1000.0, "power_source": PowerSource.USAGE}


def _energy(gpu: Gpu) -> Mapping[str, Any]:
    return {"energy_millijoules": pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu.handle)}


def _sm_clock(gpu: Gpu) -> Mapping[str, Any]:
    return {"sm_clock_mhz": pynvml.nvmlDeviceGetClockInfo(gpu.handle, pynvml.NVML_CLOCK_SM)}


def _memory_clock(gpu: Gpu) -> Mapping[str, Any]:
    return {"memory_clock_mhz": pynvml.nvmlDeviceGetClockInfo(gpu.handle, pynvml.NVML_CLOCK_MEM)}


def _temperature(gpu: Gpu) -> Mapping[str, Any]:
    return {"temperature_celsius": pynvml.nvmlDeviceGetTemperature(gpu.handle, pynvml.NVML_TEMPERATURE_GPU)}


def _event_reasons(gpu: Gpu) -> Mapping[str, Any]:
    return {"clock_events": clock_events(pynvml.nvmlDeviceGetCurrentClocksEventReasons(gpu.handle))}


def _throttle_reasons(gpu: Gpu) -> Mapping[str, Any]:
    """The same under its name before driver 535."""
    return {"clock_events": clock_events(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu.handle))}


def _pcie(gpu: Gpu) -> Mapping[str, Any]:
    """In kB/s; NVML does not say whether its KB has 1000 bytes."""
    return {
        "pcie_tx_bytes_per_s": 1000 * pynvml.nvmlDeviceGetPcieThroughput(gpu.handle, pynvml.NVML_PCIE_UTIL_TX_BYTES),
        "pcie_rx_bytes_per_s": 1000 * pynvml.nvmlDeviceGetPcieThroughput(gpu.handle, pynvml.NVML_PCIE_UTIL_RX_BYTES),
    }


def _nvlink(gpu: Gpu) -> Mapping[str, Any]:
    counters = (pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX)
    answers = pynvml.nvmlDeviceGetFieldValues(gpu.handle, [(counter, _ALL_LINKS) for counter in counters])
    for answer in answers:
        if answer.nvmlReturn:
            raise pynvml.NVMLError(answer.nvmlReturn)
    return {"nvlink_tx_bytes": 1024 * answers[0].value.ullVal, "nvlink_rx_bytes": 1024 * answers[1].value.ullVal}


def _processes(gpu: Gpu) -> Mapping[str, Any]:
    running = pynvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle)
    for process in running:
        if process.pid not in gpu.others:
            gpu.others[process.pid] = is_other(process.pid)
    others = [process for process in running if gpu.others[process.pid]]
    return {"other_processes": tuple(GpuProcess(pid=one.pid, used_bytes=one.usedGpuMemory) for one in others)}


def _gpm(gpu: Gpu) -> Mapping[str, Any]:
    return gpu.gpm.metrics(gpu.handle, gpu.at_s)


ENERGY = Query(("energy_millijoules",), (_energy,))
INSTANT_POWER = Query(("power_watts",), (_power_instant,))
# What a trial's DeviceState and its timeline are made of: quick questions only.
STATE = (
    Query(("power_watts",), (_power_instant, _power_usage)),
    Query(("clock_events",), (_event_reasons, _throttle_reasons)),
    Query(("other_processes",), (_processes,)),
    Query(("sm_clock_mhz",), (_sm_clock,)),
    Query(("memory_clock_mhz",), (_memory_clock,)),
    Query(("temperature_celsius",), (_temperature,)),
    Query(("gpu_busy_percent", "memory_busy_percent"), (_busy,)),
    Query(("memory_used_bytes", "memory_total_bytes"), (_memory,)),
)
# The driver takes 20 ms over each direction of PCIe, and milliseconds over a GPM sample.
ALL = (
    *STATE,
    ENERGY,
    Query(("nvlink_tx_bytes", "nvlink_rx_bytes"), (_nvlink,)),
    Query(GPM_FIELDS, (_gpm,), every_s=0.5),
    Query(("pcie_tx_bytes_per_s", "pcie_rx_bytes_per_s"), (_pcie,), every_s=5.0),
)
