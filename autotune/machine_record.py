"""The machine that figures come from."""

from __future__ import annotations

from autotune.record_base import Record

__all__ = ["Machine"]


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
