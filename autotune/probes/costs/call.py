"""An operator call as a trace records it, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import TypeAlias

__all__ = ["Argument", "Arithmetic", "Call", "Cost", "Tensor"]

# By the names that the profiler writes as `Input type`.
_ITEM_BYTES = {
    "bool": 1,
    "unsigned char": 1,
    "signed char": 1,
    "short int": 2,
    "short": 2,
    "c10::Half": 2,
    "c10::BFloat16": 2,
    "int": 4,
    "float": 4,
    "long int": 8,
    "long": 8,
    "double": 8,
    "c10::complex<float>": 8,
    "c10::complex<double>": 16,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """dims: its shape, () for a scalar tensor. dtype: as the profiler writes it, `float`, `c10::Half`; "" unknown."""

    dims: tuple[int, ...]
    dtype: str

    @property
    def count(self) -> int:
        return prod(self.dims)

    @property
    def item_bytes(self) -> int:
        """Bytes of an element; an unknown type counts as float32's."""
        return _ITEM_BYTES.get(self.dtype, 4)

    @property
    def bytes(self) -> int:
        return self.count * self.item_bytes


# A tensor, a list of tensors, a value in the profiler's own text (`[2, 2]`, `False`, `0.001`), or None.
Argument: TypeAlias = Tensor | tuple[Tensor, ...] | str | None


@dataclass(frozen=True, slots=True)
class Call:
    """name: `aten::convolution`, `torchvision::nms`. arguments: in the order of the operator's schema."""

    name: str
    arguments: tuple[Argument, ...]


class Arithmetic(StrEnum):
    """Which units may do it. MATRIX, CONVOLUTION: tensor cores too; VECTOR: depthwise convolution, all else."""

    MATRIX = "matrix"
    CONVOLUTION = "convolution"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True)
class Cost:
    """flops: a multiply-add counts as two. bytes: each input read once, each output written once. dtype: in which it
    computes, as the profiler writes it."""

    flops: float
    bytes: float
    arithmetic: Arithmetic
    dtype: str
