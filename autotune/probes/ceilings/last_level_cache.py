"""The size of the cache that a copy must leave behind to reach memory."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["last_level_cache_bytes"]

_CPUS = Path("/sys/devices/system/cpu")
# Where the system does not tell.
_USUAL_BYTES = 32 << 20


def last_level_cache_bytes(device: torch.device, cpus: Path = _CPUS) -> int:
    """A GPU's L2; a CPU's highest level, its parts summed, since the threads of a copy use them all."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes: dict[int, dict[str, int]] = {}
    try:
        for index in cpus.glob("cpu[0-9]*/cache/index[0-9]*"):
            level, shared, size = ((index / name).read_text().strip() for name in ("level", "shared_cpu_list", "size"))
            sizes.setdefault(int(level), {})[shared] = _bytes(size)
    except (OSError, ValueError):
        return _USUAL_BYTES
    return sum(sizes[max(sizes)].values()) if sizes else _USUAL_BYTES


def _bytes(size: str) -> int:
    """`32768K` as the kernel writes it."""
    return int(size.removesuffix("K")) * 1024
