"""The machine: which device, which software."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from autotune.errors import DeviceError
from autotune.records import Machine

__all__ = ["cpu_name", "installed_version", "machine", "native_bf16"]


def machine(device: str | None, threads: int) -> Machine:
    """Identity of the device and the software. device: `cpu`, `cuda`, `cuda:N`, or None for CUDA where there is one.

    Touches the device: run it where a CUDA context does no harm (not in a process that forks later).
    Raises DeviceError where the device is absent.
    """
    import torch
    import torchvision

    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    common = {
        "cpu_name": cpu_name(),
        "cpu_cores": psutil.cpu_count(logical=True) or os.cpu_count() or 1,
        "threads": threads,
        "memory_bytes": psutil.virtual_memory().total,
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "autotune": installed_version("detector-autotune"),
    }
    if name == "cpu":
        return Machine(
            device_type="cpu",
            device_name=cpu_name(),
            device_memory_bytes=psutil.virtual_memory().total,
            native_bf16=native_bf16(),
            **common,
        )
    if not torch.cuda.is_available():
        built = torch.version.cuda or "none: it is a CPU build"
        raise DeviceError(
            f"device {name}: torch sees no CUDA GPU (torch {torch.__version__}, CUDA {built}); "
            "`autotune doctor` says why, or pass --device cpu"
        )
    index = torch.device(name).index or 0
    count = torch.cuda.device_count()
    if index >= count:
        raise DeviceError(f"device {name}: there are {count} GPUs, numbered from 0; choose one of them")
    properties = torch.cuda.get_device_properties(index)
    return Machine(
        device_type="cuda",
        device_name=properties.name,
        device_memory_bytes=properties.total_memory,
        device_uuid=f"GPU-{properties.uuid}",
        compute_capability=(properties.major, properties.minor),
        multiprocessors=properties.multi_processor_count,
        driver=_driver_version(),
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        native_bf16=(properties.major, properties.minor) >= (8, 0),
        **common,
    )


def cpu_name() -> str:
    """The processor's model name, with its architecture where the system gives no name."""
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def native_bf16() -> bool:
    """Whether PyTorch has vectorised bfloat16 code for the processor.

    oneDNN's bf16 kernels need AVX-512 on x86 (its documentation, "Data Types"); below that PyTorch falls back on
    reference code, which takes many times as long as fp32.
    """
    flags = next((line for line in _cpuinfo() if line.startswith(("flags", "Features"))), "")
    return bool({"avx512bw", "avx512_bf16", "amx_bf16", "bf16"} & set(flags.partition(":")[2].split()))


def installed_version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _driver_version() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
