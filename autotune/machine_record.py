"""The machine that figures come from."""

from __future__ import annotations

from autotune.record_base import Record

__all__ = ["DeviceState", "Machine"]


class Machine(Record):
    """The device and the software that a run measured. Absent facts are None, never guessed."""

    device_type: str
    device_name: str
    device_memory_bytes: int | None = None
    device_uuid: str | None = None
    compute_capability: tuple[int, int] | None = None
    multiprocessors: int | None = None
    driver: str | None = None
    cuda: str | None = None
    cudnn: int | None = None
    cpu_name: str
    cpu_cores: int
    threads: int
    native_bf16: bool
    memory_bytes: int
    os: str
    python: str
    torch: str
    torchvision: str
    autotune: str


class DeviceState(Record):
    """The device while a trial ran.

    cpu_load_by_others: cores kept busy by other processes, mean over the trial.
    other_gpu_processes: processes on the GPU that are not ours. throttled: names of the active clock-event reasons
    that slow the device down. Fields are None where they do not apply or cannot be read.
    """

    cpu_load_by_others: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_celsius: int | None = None
    power_watts: float | None = None
    throttled: tuple[str, ...] = ()
    other_gpu_processes: int | None = None
    missing: tuple[str, ...] = ()
