"""The energy that a GPU takes over a stretch of work.

NVML's total-energy counter (Volta and later) is read right before and right after. It moves in steps, so that it is up
to one behind at either end: a stretch must last many of them. The GPU was as busy before the stretch as it is within,
so that the two errors cancel on average. Where it is lacking, samples of instant power are integrated. On A100 and H100
their sensor sees a quarter of the time (Yang et al. 2023, arXiv 2312.02741): a regular load can hide in the rest of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise

from autotune.energy_record import Energy, EnergySource
from autotune.errors import DeviceError
from autotune.machine_record import Machine
from autotune.nvml_record import NvmlSample, NvmlSeries, PowerSource
from autotune.probes.nvml_device import NvmlDevice
from autotune.probes.nvml_queries import ENERGY, INSTANT_POWER

__all__ = ["EnergyMeter", "energy_source"]

# Fewer samples of power than this are no measure of energy.
_SAMPLES_AT_LEAST = 8


def energy_source(machine: Machine) -> EnergySource:
    """How energy can be measured here. Raises DeviceError where it cannot."""
    instead = "choose --objective throughput or memory"
    if machine.device_type != "cuda":
        raise DeviceError(f"energy is measured by NVML, and {machine.device_name} is no NVIDIA GPU; {instead}")
    with closing(NvmlDevice(machine.device_uuid or "", (ENERGY, INSTANT_POWER))) as device:
        sample = device.sample(time.monotonic())
    if sample is not None and sample.energy_millijoules is not None:
        return EnergySource.COUNTER
    if sample is not None and sample.power_watts is not None:
        return EnergySource.POWER
    reasons = "; ".join(f"{gap.field}: {gap.reason}" for gap in device.missing)
    raise DeviceError(f"NVML tells neither energy nor instant power here ({device.lost or reasons}); {instead}")


class EnergyMeter:
    """Reads the counter at begin() and end(). uuid: the GPU's. clock: the one that samples of power were taken by."""

    def __init__(self, uuid: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._device = NvmlDevice(uuid, (ENERGY,))
        self._clock = clock
        self._first: NvmlSample | None = None
        self._last: NvmlSample | None = None

    def begin(self) -> None:
        """The work begins; a later call begins anew."""
        self._first, self._last = self._device.sample(self._clock()), None

    def end(self) -> None:
        self._last = self._device.sample(self._clock())

    def close(self) -> None:
        """Release NVML."""
        self._device.close()

    def energy(self, series: NvmlSeries) -> Energy | None:
        """The energy between begin() and end(); series: samples of power meanwhile, for where the counter is lacking.

        None where nothing was read, the counter did not move, or the samples are too few."""
        if self._first is None or self._last is None:
            return None
        window_s = self._last.at_s - self._first.at_s
        before, after = self._first.energy_millijoules, self._last.energy_millijoules
        if before is not None and after is not None:
            return _energy((after - before) / 1000.0, window_s, EnergySource.COUNTER, 2)
        within = [
            (sample.at_s, sample.power_watts)
            for sample in series.samples
            if sample.power_source is PowerSource.INSTANT
            and sample.power_watts is not None
            and self._first.at_s <= sample.at_s <= self._last.at_s
        ]
        if len(within) < _SAMPLES_AT_LEAST:
            return None
        # The ends of the window have the power of the sample beside them.
        points = [(self._first.at_s, within[0][1]), *within, (self._last.at_s, within[-1][1])]
        joules = sum((later - earlier) * (watts + then) / 2.0 for (earlier, watts), (later, then) in pairwise(points))
        return _energy(joules, window_s, EnergySource.POWER, len(within))


def _energy(joules: float, window_s: float, source: EnergySource, readings: int) -> Energy | None:
    if joules <= 0.0 or window_s <= 0.0:
        return None
    return Energy(joules=joules, window_s=window_s, source=source, readings=readings)
