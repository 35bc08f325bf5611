"""The device's state around a trial: who else uses it, and whether it is held back.

A StateProbe is made when a trial begins and read when it ends. It runs in the process that orders the trials, which
never opens a CUDA context; NVML is opened for each reading, since its state does not survive a fork.
"""

from __future__ import annotations

import os
import time
from typing import Any

import psutil

from autotune.records import DeviceState, Machine

__all__ = ["StateProbe"]

# Clock-event reasons that hold a busy GPU back. Idle, application clocks and sync boost are not among them.
_SLOWDOWNS = {
    "SwPowerCap": "software power cap",
    "HwSlowdown": "hardware slowdown",
    "SwThermalSlowdown": "software thermal slowdown",
    "HwThermalSlowdown": "hardware thermal slowdown",
    "HwPowerBrakeSlowdown": "power brake",
}


class StateProbe:
    """Watches one trial from its making to read()."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._began_s = time.monotonic()
        self._busy_s = _busy_cpu_s()

    def read(self, own_pids: set[int], own_cpu_s: float) -> DeviceState:
        """The state now; own_cpu_s is the CPU time that the trial itself used since the probe was made."""
        if self._machine.device_type == "cuda":
            return _gpu_state(self._machine.device_uuid, own_pids)
        elapsed_s = max(time.monotonic() - self._began_s, 1e-3)
        others_s = _busy_cpu_s() - self._busy_s - own_cpu_s
        return DeviceState(cpu_load_by_others=round(max(0.0, others_s / elapsed_s), 2))


def _busy_cpu_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _gpu_state(uuid: str | None, own_pids: set[int]) -> DeviceState:
    import pynvml

    missing: list[str] = []

    def ask(field: str, question: Any, *args: Any) -> Any:
        try:
            return question(*args)
        except (pynvml.NVMLError, AttributeError):
            missing.append(field)
            return None

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return DeviceState(missing=(f"NVML: {error}",))
    try:
        handle = ask("device", pynvml.nvmlDeviceGetHandleByUUID, uuid or "")
        if handle is None:
            return DeviceState(missing=tuple(missing))
        power_mw = ask("power", pynvml.nvmlDeviceGetPowerUsage, handle)
        reasons = ask("throttled", pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle) or 0
        processes = ask("other_gpu_processes", pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
        return DeviceState(
            sm_clock_mhz=ask("sm_clock", pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            memory_clock_mhz=ask("memory_clock", pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
            temperature_celsius=ask(
                "temperature", pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU
            ),
            power_watts=None if power_mw is None else power_mw / 1000.0,
            throttled=tuple(words for name, words in _SLOWDOWNS.items() if reasons & _reason(pynvml, name)),
            other_gpu_processes=None if processes is None else sum(_is_other(p.pid, own_pids) for p in processes),
            missing=tuple(missing),
        )
    finally:
        pynvml.nvmlShutdown()


def _reason(pynvml: Any, name: str) -> int:
    """The bit of a clock-event reason, under its new name or, in older bindings, its old one."""
    for prefix in ("nvmlClocksEventReason", "nvmlClocksThrottleReason"):
        if (bit := getattr(pynvml, prefix + name, None)) is not None:
            return int(bit)
    return 0


def _is_other(pid: int, own_pids: set[int]) -> bool:
    # In a container NVML may report process ids of another namespace; those that do not exist here cannot be told
    # from ours, and are left out.
    return pid not in own_pids and pid != os.getpid() and psutil.pid_exists(pid)
