"""The device's state around a trial: who else uses it, and whether it is held back.

A StateProbe is made when a trial begins and read when it ends. It runs in the process that orders the trials, which
opens no CUDA context and forks no trial itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import psutil

from autotune.energy_record import Energy
from autotune.nvml_record import DeviceTimeline, NvmlSeries
from autotune.probes.clock_events import SLOWDOWNS
from autotune.probes.energy import EnergyMeter
from autotune.probes.nvml import STATE, NvmlSampler
from autotune.probes.nvml_queries import Query
from autotune.records import DeviceState, Machine

__all__ = ["StateProbe"]

_SAMPLE_EVERY_S = 0.2
# For an energy by samples of power, of which a trial much faster than the baseline's must have enough.
_ENERGY_SAMPLE_EVERY_S = 0.05
# Of a trial's samples no more than this are kept.
_TIMELINE_SAMPLES = 30
# NVML's fields by the names that DeviceState.missing, and the reports, give them.
_NAMES = {
    "power_watts": "power",
    "clock_events": "throttled",
    "other_processes": "other_gpu_processes",
    "sm_clock_mhz": "sm_clock",
    "memory_clock_mhz": "memory_clock",
    "temperature_celsius": "temperature",
    "device": "device",
}


class StateProbe:
    """Watches one trial from its making to read() or close(). A GPU is sampled meanwhile: idle, it shows nothing.

    queries: what to ask NVML. needs_energy: sample often enough for an energy by power alone.
    nvml: what NVML said, once read; None on a CPU. energy: of the work between begin_timed() and end_timed(), once
    read; None where it was not measured.
    """

    def __init__(self, machine: Machine, *, queries: Sequence[Query] = STATE, needs_energy: bool = False) -> None:
        self.nvml: NvmlSeries | None = None
        self._began_s = time.monotonic()
        self._busy_s = _busy_cpu_s()
        self._sampler: NvmlSampler | None = None
        self._meter: EnergyMeter | None = None
        self.energy: Energy | None = None
        if machine.device_type == "cuda":
            self._meter = EnergyMeter(machine.device_uuid or "")
            every_s = _ENERGY_SAMPLE_EVERY_S if needs_energy else _SAMPLE_EVERY_S
            self._sampler = NvmlSampler(machine.device_uuid or "", every_s, queries=queries)
            self._sampler.start()

    def begin_timed(self) -> None:
        """The trial's timed steps begin; a later call says that they begin only now."""
        if self._meter is not None:
            self._meter.begin()

    def end_timed(self) -> None:
        if self._meter is not None:
            self._meter.end()

    def read(self, own_cpu_s: float | None) -> DeviceState:
        """The state over the trial. own_cpu_s: CPU time that the trial itself used; None where that is not known."""
        if self._sampler is not None and self._meter is not None:
            self.nvml = self._sampler.stop()
            self.energy = self._meter.energy(self.nvml)
            self._meter.close()
            return _summary(self.nvml)
        if own_cpu_s is None:
            return DeviceState()
        elapsed_s = max(time.monotonic() - self._began_s, 1e-3)
        others_s = _busy_cpu_s() - self._busy_s - own_cpu_s
        return DeviceState(cpu_load_by_others=round(max(0.0, others_s / elapsed_s), 2))

    def timeline(self) -> DeviceTimeline | None:
        """What is kept of nvml; None where nothing was sampled."""
        if self.nvml is None or not self.nvml.samples:
            return None
        return DeviceTimeline.of(self.nvml.samples, self._began_s, _TIMELINE_SAMPLES)

    def close(self) -> None:
        """End the sampling."""
        if self._sampler is not None and self._meter is not None:
            self._sampler.stop()
            self._meter.close()


def _summary(series: NvmlSeries) -> DeviceState:
    """Clocks and power at the busiest sample, the hottest temperature, and everything that was seen once."""
    samples = series.samples
    busiest = max(samples, key=lambda sample: sample.power_watts or 0.0, default=None)
    events = dict.fromkeys(event for sample in samples for event in sample.clock_events or ())
    # What the state does not tell anyway, as utilisation, is not amiss where a MIG device has none.
    missing = [
        f"NVML: {gap.reason}" if gap.field == "nvml" else _NAMES[gap.field]
        for gap in series.missing
        if gap.field == "nvml" or gap.field in _NAMES
    ]
    return DeviceState(
        sm_clock_mhz=busiest.sm_clock_mhz if busiest else None,
        memory_clock_mhz=busiest.memory_clock_mhz if busiest else None,
        temperature_celsius=max((s.temperature_celsius for s in samples if s.temperature_celsius), default=None),
        power_watts=busiest.power_watts if busiest else None,
        throttled=tuple(event for event in events if event in SLOWDOWNS),
        other_gpu_processes=max(
            (len(s.other_processes) for s in samples if s.other_processes is not None), default=None
        ),
        missing=(*missing, *([f"NVML: {series.lost}"] if series.lost else ())),
    )


def _busy_cpu_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)
