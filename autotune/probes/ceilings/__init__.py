"""What this machine reaches: FLOP/s per precision, bytes/s, launches, each measured for a moment."""

from __future__ import annotations

from autotune.probes.ceilings.measure import measure_ceilings, planned

__all__ = ["measure_ceilings", "planned"]
