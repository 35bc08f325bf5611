"""What is installed and what the machine has: a check before a run, and the findings of `autotune doctor`."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from autotune import cache
from autotune.errors import InstallationError
from autotune.probes.machine import cpu_name, installed_version, native_bf16

__all__ = ["Finding", "State", "check_installation", "doctor"]

_PAIR = "pip install --force-reinstall torch torchvision"
_GIB = 2**30
_LITTLE_MEMORY_GIB = 4.0
# Docker's default of 64 MiB holds not even two batches of a DataLoader with workers.
_LITTLE_SHARED_MEMORY_GIB = 1.0


class State(StrEnum):
    """problem: nothing can be measured. warning: something may fail or be slow."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One line of `autotune doctor`; a warning's or a problem's sentence says what to do."""

    name: str
    state: State
    sentence: str


def check_installation() -> None:
    """Import torch and torchvision. Raises InstallationError where one is missing, broken, or does not fit the other.

    CPU-only torch beside a CUDA build of torchvision, or releases that don't belong together, fail when torchvision
    is imported: RuntimeError `operator torchvision::nms does not exist`.
    """
    with _importing("torch"):
        import torch
    try:
        with _importing("torchvision"):
            import_module("torchvision")
    except (RuntimeError, AttributeError) as error:
        raise InstallationError(
            f"torch {torch.__version__} and torchvision {installed_version('torchvision')} do not fit each other "
            f"({_one_line(error)}); install them together, from one index: {_PAIR}"
        ) from error


def doctor() -> list[Finding]:
    """All findings, in the order in which a run depends on them. Never raises."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _software,
        _gpus,
        _processor,
        _memory,
        _cache,
    )
    return [finding for check in checks for finding in check()]


@contextmanager
def _importing(package: str) -> Iterator[None]:
    """Turn a failed import of package into a sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise InstallationError(
                f"{package} cannot be imported, since it lacks {error.name}; install it anew: {_PAIR}"
            ) from error
        raise InstallationError(f"{package} is not installed; install it with its partner: {_PAIR}") from error
    except (ImportError, OSError) as error:
        raise InstallationError(
            f"{package} cannot be imported ({_one_line(error)}); install it anew: {_PAIR}"
        ) from error


def _software() -> Iterator[Finding]:
    yield Finding("autotune", State.OK, _autotune_version())
    yield Finding("python", State.OK, f"{platform.python_version()} ({platform.python_implementation()})")
    try:
        check_installation()
    except InstallationError as error:
        yield Finding("torch and torchvision", State.PROBLEM, str(error))
    else:
        yield from _torch_pair()
    try:
        alias = version("pynvml")
    except PackageNotFoundError:
        return
    yield Finding(
        "pynvml",
        State.WARNING,
        f"the deprecated package pynvml {alias} is installed, and torch warns of it; "
        "pip uninstall -y pynvml && pip install --force-reinstall nvidia-ml-py",
    )


def _torch_pair() -> Iterator[Finding]:
    import torch
    import torchvision

    torch_cuda, torchvision_cuda = torch.version.cuda, getattr(torchvision.version, "cuda", None)
    yield Finding("torch", State.OK, f"{torch.__version__}, {_build(torch_cuda)}")
    if torch_cuda and not torchvision_cuda:
        yield Finding(
            "torchvision",
            State.WARNING,
            f"{torchvision.__version__} is a CPU build beside torch for CUDA {torch_cuda}: detectors will fail on a "
            f"GPU; install them together: {_PAIR}",
        )
    else:
        yield Finding("torchvision", State.OK, f"{torchvision.__version__}, fits torch")


def _gpus() -> Iterator[Finding]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield Finding("gpu", State.OK, f"no NVIDIA GPU can be reached ({error}); a run will measure the CPU")
        return
    try:
        yield Finding("nvidia driver", State.OK, str(pynvml.nvmlSystemGetDriverVersion()))
        for index in range(pynvml.nvmlDeviceGetCount()):
            yield _gpu(index)
    except pynvml.NVMLError as error:
        yield Finding("gpu", State.WARNING, f"the driver's NVML fails ({error}); see that nvidia-smi works")
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int) -> Finding:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    sentence = f"{pynvml.nvmlDeviceGetName(handle)}, {memory.free / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"
    if not _torch_sees_cuda():
        return Finding(
            f"gpu {index}",
            State.WARNING,
            f"{sentence}, but torch cannot use it: a CPU build, a driver that is too old, or CUDA_VISIBLE_DEVICES",
        )
    return Finding(f"gpu {index}", State.OK, sentence)


def _torch_sees_cuda() -> bool:
    try:
        import torch
    except (ImportError, OSError):
        return False
    return torch.cuda.is_available()


def _processor() -> Iterator[Finding]:
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    yield Finding("cpu", State.OK, f"{cpu_name()}, {cores} cores, {psutil.cpu_count() or cores} threads")
    bf16 = "vectorised" if native_bf16() else "none that is fast, so it is not tried on the CPU"
    yield Finding("cpu bf16", State.OK, bf16)


def _memory() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    free_gib = memory.available / _GIB
    sentence = f"{free_gib:.1f} of {memory.total / _GIB:.1f} GiB free"
    if free_gib < _LITTLE_MEMORY_GIB:
        yield Finding("memory", State.WARNING, f"{sentence}: little for a detector; close what you don't need")
    else:
        yield Finding("memory", State.OK, sentence)
    shared = Path("/dev/shm")
    if not shared.is_dir():
        return
    free_gib = shutil.disk_usage(shared).free / _GIB
    sentence = f"{free_gib:.1f} GiB free"
    if free_gib < _LITTLE_SHARED_MEMORY_GIB:
        remedy = "DataLoader workers may fail; in Docker, pass --shm-size=2g or --ipc=host"
        yield Finding(str(shared), State.WARNING, f"{sentence}: {remedy}")
    else:
        yield Finding(str(shared), State.OK, sentence)


def _cache() -> Iterator[Finding]:
    directory = cache.folder()
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        yield Finding("cache", State.OK, f"{directory} is writable")
    else:
        yield Finding("cache", State.WARNING, f"{existing} is not writable; set AUTOTUNE_CACHE to a folder that is")


def _autotune_version() -> str:
    found = installed_version("detector-autotune")
    return "run from its source tree" if found == "not installed" else found


def _build(cuda: str | None) -> str:
    return f"built for CUDA {cuda}" if cuda else "built without CUDA: a GPU cannot be used"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
