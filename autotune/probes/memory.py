"""Memory of a trial: its peak, its stalls, and a limit on it."""

from __future__ import annotations

import resource
from pathlib import Path

import psutil
import torch

__all__ = ["CPU_STALL_FAULTS", "limit_memory", "memory_stalls", "peak_memory_bytes"]

# A step that reads this many pages (4 KiB each) back from disk is paging, not warming up.
CPU_STALL_FAULTS = 1024
# What a CPU trial may take of the memory that was free when it began, so that the rest of the machine lives on.
_CPU_SHARE = 0.9


def peak_memory_bytes(device: torch.device) -> int:
    """Peak so far: device memory reserved by the allocator (CUDA), resident memory of this process (CPU)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return _status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_stalls(device: torch.device) -> int:
    """A running count of stalls for want of memory.

    CUDA: the allocator's retries, each of which frees its cache and synchronises. CPU: major page faults in units
    of CPU_STALL_FAULTS, the sign of a machine that swaps.
    """
    if device.type == "cuda":
        return int(torch.cuda.memory_stats(device).get("num_alloc_retries", 0))
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt // CPU_STALL_FAULTS


def limit_memory(device: torch.device, limit_bytes: int | None) -> None:
    """Make allocations of this process fail past limit_bytes, instead of taking the machine down with it.

    Without a limit a CUDA process may fill its device, and a CPU process 90% of the memory that is free now.
    """
    if device.type == "cuda":
        if limit_bytes is not None:
            total = torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)
        return
    headroom = limit_bytes if limit_bytes is not None else int(_CPU_SHARE * psutil.virtual_memory().available)
    # RLIMIT_DATA counts private writable memory. RLIMIT_AS would count the gigabytes of libraries that torch maps.
    limit = (_status_bytes("VmData") or 0) + headroom
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None
