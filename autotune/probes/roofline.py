"""The roofline: what the ceilings let a layer's FLOPs and bytes be done in, and what that says of its time."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.probes.costs import Arithmetic, Cost
from autotune.profile_record import Bound, CeilingKind, Ceilings

__all__ = ["Roof", "bound_of"]

# Below this share of its time neither ceiling explains a layer (as Nsight Compute's speed-of-light rule has it).
_EXPLAINED = 0.6
_BALANCED = 0.1
# A layer most of whose time has no cost cannot be judged by its cost.
_MODELLED = 0.5

_PRECISIONS = {"c10::Half": "fp16", "c10::BFloat16": "bf16", "float": "fp32"}
_TENSOR_UNITS = {
    Arithmetic.MATRIX: (CeilingKind.MATRIX, CeilingKind.CONVOLUTION),
    Arithmetic.CONVOLUTION: (CeilingKind.CONVOLUTION, CeilingKind.MATRIX),
}


@dataclass(frozen=True)
class Roof:
    """The ceilings, and how the traced step was allowed to compute.

    tf32_matrix, tf32_convolution: float32 operands went through TF32 (torch's flags, on a GPU that has it).
    """

    ceilings: Ceilings
    tf32_matrix: bool = False
    tf32_convolution: bool = False

    @property
    def complete(self) -> bool:
        """Whether all FLOPs and bytes have a ceiling: without one nothing can be said to stand below both."""
        return all(self.ceilings.get(kind) for kind in (CeilingKind.COPY, CeilingKind.VECTOR))

    @property
    def knows_host_copies(self) -> bool:
        return self.ceilings.get(CeilingKind.HOST_TO_DEVICE) is not None

    def arithmetic(self, cost: Cost) -> str:
        """The ceiling that a cost is compared with, in words: `convolution tf32`, `vector`."""
        precision = self._precision(cost)
        return f"{cost.arithmetic} {precision}" if precision else Arithmetic.VECTOR.value

    def compute_ms(self, cost: Cost) -> float:
        """The least time for the cost's FLOPs: 0 where no ceiling is known."""
        precision = self._precision(cost)
        reached = None
        if precision:
            # Of the two the larger: how fast the units are does not depend on which operator feeds them.
            found = [self.ceilings.get(kind, precision) for kind in _TENSOR_UNITS[cost.arithmetic]]
            reached = max((each for each in found if each), default=None)
        reached = reached or self.ceilings.get(CeilingKind.VECTOR)
        return 1000.0 * cost.flops / reached if reached else 0.0

    def memory_ms(self, moved_bytes: float) -> float:
        """The least time to move bytes within the device's memory: 0 where no ceiling is known."""
        reached = self.ceilings.get(CeilingKind.COPY)
        return 1000.0 * moved_bytes / reached if reached else 0.0

    def host_copy_ms(self, moved_bytes: float) -> float:
        """The least time for a copy between the host's memory and the device's; the device's own where not known."""
        reached = self.ceilings.get(CeilingKind.HOST_TO_DEVICE) or self.ceilings.get(CeilingKind.COPY)
        return 1000.0 * moved_bytes / reached if reached else 0.0

    def _precision(self, cost: Cost) -> str | None:
        if cost.arithmetic is Arithmetic.VECTOR:
            return None
        precision = _PRECISIONS.get(cost.dtype)
        tf32 = self.tf32_matrix if cost.arithmetic is Arithmetic.MATRIX else self.tf32_convolution
        return "tf32" if precision == "fp32" and tf32 else precision


def bound_of(
    time_ms: float, compute_ms: float, memory_ms: float, *, modelled: float = 1.0, complete: bool = True
) -> tuple[Bound, bool]:
    """What bounds a layer's work, time_ms on the device, and whether compute and memory weigh the same (within 10%).

    compute_ms, memory_ms: the least that the ceilings allow. modelled: share of time_ms that has a cost.
    complete: both have a ceiling; where one is missing, what the other does not explain stays unexplained.
    """
    if modelled < _MODELLED:
        return Bound.UNMODELLED, False
    longest = max(compute_ms, memory_ms)
    if longest < _EXPLAINED * time_ms:
        return Bound.LATENCY if complete else Bound.UNMODELLED, False
    balanced = abs(compute_ms - memory_ms) <= _BALANCED * longest
    return (Bound.COMPUTE if compute_ms > memory_ms else Bound.MEMORY), balanced
