"""Times of whole steps: device events on CUDA, a monotonic clock on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

__all__ = ["timed"]

Result = TypeVar("Result")


def timed(work: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """Run work once and return its result and its time in ms.

    On CUDA the two events lie in the device's own stream inside one synchronised region, so that the time covers the
    device's work and the waits for the host in between, and nothing queued before.
    """
    if device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize(device)
        start.record()
        result = work()
        end.record()
        torch.cuda.synchronize(device)
        return result, start.elapsed_time(end)
    began_ns = time.perf_counter_ns()
    result = work()
    return result, (time.perf_counter_ns() - began_ns) / 1e6
