"""The energy that a trial's timed steps took."""

from __future__ import annotations

from enum import StrEnum

from pydantic import PositiveFloat, PositiveInt

from autotune.record_base import Record

__all__ = ["Energy", "EnergySource"]

# The counter moves every 20 to 100 ms.
_COUNTER_STEP_S = 0.1


class EnergySource(StrEnum):
    """counter: NVML's total energy, read before and after. power: samples of instant power, integrated over time."""

    COUNTER = "counter"
    POWER = "power"


class Energy(Record):
    """joules: of the whole GPU over the timed steps and the moments between them, which last window_s.

    readings: what it comes from: two of the counter, or so many samples of power.
    """

    joules: PositiveFloat
    window_s: PositiveFloat
    source: EnergySource
    readings: PositiveInt

    @property
    def resolution_s(self) -> float:
        """By how much either end of the window may be off, in seconds: a step of the counter, or the time between two
        samples. As a share of window_s it is the most that one trial's joules may be wrong by; it differs at random
        from trial to trial."""
        return _COUNTER_STEP_S if self.source is EnergySource.COUNTER else self.window_s / self.readings
