"""The reasons that NVML gives for a GPU's clocks (once called throttle reasons), in words."""

from __future__ import annotations

import pynvml

__all__ = ["SLOWDOWNS", "clock_events"]

# Clock-event reasons that hold a busy GPU back.
_SLOWDOWNS = {
    "SwPowerCap": "software power cap",
    "HwSlowdown": "hardware slowdown",
    "SwThermalSlowdown": "software thermal slowdown",
    "HwThermalSlowdown": "hardware thermal slowdown",
    "HwPowerBrakeSlowdown": "power brake",
}
_OTHERS = {
    "GpuIdle": "idle",
    "ApplicationsClocksSetting": "application clocks",
    "SyncBoost": "sync boost",
    "DisplayClockSetting": "display clocks",
}
SLOWDOWNS = frozenset(_SLOWDOWNS.values())


def clock_events(bits: int) -> tuple[str, ...]:
    """The reasons whose bits are set; a bit that the bindings have no name for is given as its number."""
    found = []
    for name, words in (_SLOWDOWNS | _OTHERS).items():
        bit = _bit(name)
        if bits & bit:
            found.append(words)
            bits &= ~bit
    return (*found, *(f"reason {1 << place:#x}" for place in range(bits.bit_length()) if bits >> place & 1))


def _bit(name: str) -> int:
    """The bit of a clock-event reason, under its new name or, in older bindings, its old one."""
    for prefix in ("nvmlClocksEventReason", "nvmlClocksThrottleReason"):
        if (bit := getattr(pynvml, prefix + name, None)) is not None:
            return int(bit)
    return 0
