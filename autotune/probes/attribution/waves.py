"""How often a kernel's grid fills the device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autotune.probes.traces.events import ABSENT, Ints, Trace

__all__ = ["waves_of"]

# Of all architectures from Volta on (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"):
# resident blocks per multiprocessor are 16 to 32, registers 64 Ki.
_BLOCKS_AT_MOST = 32
_THREADS = 2048
_REGISTERS = 65536
_SHARED_BYTES = 96 * 1024
# Registers are given to whole warps, in units.
_WARP = 32
_REGISTER_UNIT = 256


def waves_of(trace: Trace, event: Ints) -> NDArray[np.float64]:
    """Blocks in the grid / blocks that the device holds at once, for each device event; NaN where there is no grid.

    How many blocks a multiprocessor holds is bounded by its threads, registers, shared memory and block slots
    (CUDA C++ Programming Guide, "Occupancy"). What the profiler did not write of the device counts as a V100's.
    """
    waves = np.full(len(event), np.nan)
    rows = np.flatnonzero(event != ABSENT)
    devices = {device.id: device for device in trace.devices}
    for number in np.unique(trace.device_events.device[event[rows]]).tolist():
        device = devices.get(number)
        if device is None or not device.multiprocessors:
            continue
        here = rows[trace.device_events.device[event[rows]] == number]
        events = event[here]
        grid, block = trace.device_events.grid[events], trace.device_events.block[events]
        warps = np.maximum(-(-block.prod(axis=1) // _WARP), 1)
        by_warp = np.maximum(trace.device_events.registers[events], 0) * _WARP
        registers = -(-by_warp // _REGISTER_UNIT) * _REGISTER_UNIT * warps
        shared = np.maximum(trace.device_events.shared_memory_bytes[events], 0)
        held = np.minimum(_BLOCKS_AT_MOST, (device.threads_per_multiprocessor or _THREADS) // (warps * _WARP))
        for needed, there in (
            (registers, device.registers_per_multiprocessor or _REGISTERS),
            (shared, device.shared_memory_per_multiprocessor_bytes or _SHARED_BYTES),
        ):
            held = np.where(needed > 0, np.minimum(held, there // np.maximum(needed, 1)), held)
        filled = grid.prod(axis=1) / (device.multiprocessors * np.maximum(held, 1))
        waves[here] = np.where((grid > 0).all(axis=1), filled, np.nan)
    return waves
