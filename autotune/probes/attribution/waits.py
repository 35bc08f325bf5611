"""How much of the waiting in a profiled step is the profiler's."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.probes.attribution.work import Work

__all__ = ["Waits"]


@dataclass(frozen=True)
class Waits:
    """The share of a profiled step's idle time that an unprofiled step has too: of the device's own gaps, between
    kernels that were launched in time, and of its waits for launches."""

    own: float = 1.0
    host: float = 1.0

    @classmethod
    def of(cls, work: Work, waiting_ms: float) -> Waits:
        """waiting_ms: what an unprofiled step waits. The profiler slows the host down, not the device: the device's own
        gaps are there without it, and what is left of the waiting is for the host."""
        idle_ms, host_ms = (each.sum() / len(work.steps_ns) / 1e6 for each in (work.idle_before_ns, work.host_wait_ns))
        own_ms = idle_ms - host_ms
        own = min(1.0, waiting_ms / own_ms) if own_ms else 1.0
        return cls(own, min(1.0, max(0.0, waiting_ms - own_ms) / host_ms) if host_ms else 1.0)
