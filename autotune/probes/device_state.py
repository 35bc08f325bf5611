"""The device's state around a trial: who else uses it, and whether it is held back.

A StateProbe is made when a trial begins and read when it ends. It runs in the process that orders the trials, which
opens no CUDA context and forks no trial itself.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import psutil

from autotune.records import DeviceState, Machine

__all__ = ["StateProbe"]

_SAMPLE_EVERY_S = 0.2
# Clock-event reasons that hold a busy GPU back. Idle, application clocks and sync boost are not among them.
_SLOWDOWNS = {
    "SwPowerCap": "software power cap",
    "HwSlowdown": "hardware slowdown",
    "SwThermalSlowdown": "software thermal slowdown",
    "HwThermalSlowdown": "hardware thermal slowdown",
    "HwPowerBrakeSlowdown": "power brake",
}


class StateProbe:
    """Watches one trial from its making to read() or close(). A GPU is sampled meanwhile: idle, it shows nothing."""

    def __init__(self, machine: Machine) -> None:
        self._began_s = time.monotonic()
        self._busy_s = _busy_cpu_s()
        self._samples: list[DeviceState] = []
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        if machine.device_type == "cuda":
            self._thread = threading.Thread(target=self._sample, args=(machine.device_uuid,), daemon=True)
            self._thread.start()

    def read(self, own_cpu_s: float | None) -> DeviceState:
        """The state over the trial. own_cpu_s: CPU time that the trial itself used; None where that is not known."""
        self.close()
        if self._samples:
            return _summary(self._samples)
        if own_cpu_s is None:
            return DeviceState()
        elapsed_s = max(time.monotonic() - self._began_s, 1e-3)
        others_s = _busy_cpu_s() - self._busy_s - own_cpu_s
        return DeviceState(cpu_load_by_others=round(max(0.0, others_s / elapsed_s), 2))

    def close(self) -> None:
        """End the sampling."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _sample(self, uuid: str | None) -> None:
        while True:
            self._samples.append(_gpu_state(uuid))
            if self._done.wait(_SAMPLE_EVERY_S):
                return


def _summary(samples: Sequence[DeviceState]) -> DeviceState:
    """Clocks and power at the busiest sample, the hottest temperature, and everything that was seen once."""
    busiest = max(samples, key=lambda state: state.power_watts or 0.0)
    return DeviceState(
        sm_clock_mhz=busiest.sm_clock_mhz,
        memory_clock_mhz=busiest.memory_clock_mhz,
        temperature_celsius=max((s.temperature_celsius for s in samples if s.temperature_celsius), default=None),
        power_watts=busiest.power_watts,
        throttled=tuple(dict.fromkeys(reason for state in samples for reason in state.throttled)),
        other_gpu_processes=max(
            (s.other_gpu_processes for s in samples if s.other_gpu_processes is not None), default=None
        ),
        missing=tuple(dict.fromkeys(field for state in samples for field in state.missing)),
    )


def _busy_cpu_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _gpu_state(uuid: str | None) -> DeviceState:
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
            other_gpu_processes=None if processes is None else sum(_is_other(process.pid) for process in processes),
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


def _is_other(pid: int) -> bool:
    """Whether a process on the GPU is none of ours: the trials descend from this process.

    In a container NVML may report process ids of another namespace; those that do not exist here are left out.
    """
    try:
        process = psutil.Process(pid)
        family = [process, *process.parents()]
    except psutil.Error:
        return False
    return os.getpid() not in {member.pid for member in family}
