"""Samples of one rate: the size that a device needs some milliseconds for, then repetitions until the time is up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
import torch

__all__ = ["Clock", "Rung", "Work", "free_bytes", "rates"]

Work = Callable[[], object]
# Runs work once on a device and tells its result and its time in ms, as `timed` does.
Clock = Callable[[Work, torch.device], tuple[object, float]]

_SAMPLE_AT_LEAST_MS = 10.0
_SAMPLE_AT_MOST_MS = 100.0
# A larger work is tried if the smaller one's rate foretells this: more than it may take, since a small work reaches
# less of a device's rate, and far less on a CPU whose threads wait for a core that is taken.
_FORETOLD_AT_MOST_MS = 200.0
_SAMPLES_AT_LEAST = 3
_SAMPLES_AT_MOST = 100
_REPEATS_AT_MOST = 10_000
_TRIES = 3
# Of a ceiling's time, before the samples: clocks rise under load, and cuDNN tries its algorithms.
_WARM_UP_SHARE = 0.2
# A failed clock reading must not divide by zero.
_TICK_MS = 1e-6
_MEMORY_SHARE = 0.25


@dataclass(frozen=True)
class Rung:
    """One size of a work. amount: FLOPs, bytes or launches of one call. memory_bytes: what its tensors take."""

    amount: float
    memory_bytes: float
    build: Callable[[], Work]


def rates(ladder: Sequence[Rung], device: torch.device, clock: Clock, share_s: float) -> tuple[float, ...]:
    """Amount per second of each sample, at least three, until their times sum to share_s; warm-up excluded.

    Climbs the ladder, smallest first, to the last rung that takes under 100 ms and a quarter of the free memory. A
    work shorter than 10 ms is repeated within a sample, so that neither its launch nor the clock counts.
    """
    rung, work, once_ms = _climb(ladder, device, clock)
    repeats = min(_REPEATS_AT_MOST, math.ceil(_SAMPLE_AT_LEAST_MS / once_ms))

    def sample() -> None:
        for _ in range(repeats):
            work()

    # Shapes are fixed from here on; while climbing, trying algorithms for each rung would take longer than all else.
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        _until(sample, device, clock, _WARM_UP_SHARE * share_s * 1000.0, at_least=1)
        times_ms = _until(sample, device, clock, share_s * 1000.0, at_least=_SAMPLES_AT_LEAST)
    finally:
        torch.backends.cudnn.benchmark = before
    return tuple(1000.0 * rung.amount * repeats / ms for ms in times_ms)


def free_bytes(device: torch.device) -> int:
    """Memory that nobody uses now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _climb(ladder: Sequence[Rung], device: torch.device, clock: Clock) -> tuple[Rung, Work, float]:
    """The largest fitting rung that takes under 100 ms, or the smallest of all; with its work and time in ms."""
    room_bytes = _MEMORY_SHARE * free_bytes(device)
    rung = ladder[0]
    work, once_ms = _tried(rung, device, clock)
    for above in ladder[1:]:
        if above.memory_bytes > room_bytes or once_ms * above.amount / rung.amount > _FORETOLD_AT_MOST_MS:
            break
        del work  # its memory, before the next takes more
        work, above_ms = _tried(above, device, clock)
        if above_ms > _SAMPLE_AT_MOST_MS:
            del work
            work = rung.build()
            break
        rung, once_ms = above, above_ms
    return rung, work, once_ms


def _tried(rung: Rung, device: torch.device, clock: Clock) -> tuple[Work, float]:
    """A rung's work and the least of its times in ms: the first loads kernels, and any may be disturbed."""
    work = rung.build()
    return work, max(_TICK_MS, min(clock(work, device)[1] for _ in range(_TRIES)))


def _until(sample: Work, device: torch.device, clock: Clock, budget_ms: float, *, at_least: int) -> list[float]:
    times_ms: list[float] = []
    while len(times_ms) < at_least or (sum(times_ms) < budget_ms and len(times_ms) < _SAMPLES_AT_MOST):
        times_ms.append(max(clock(sample, device)[1], _TICK_MS))
    return times_ms
