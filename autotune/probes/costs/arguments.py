"""Reading a call's arguments: a rule asks for what it needs, and a call that lacks it is not modelled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from autotune.probes.costs.call import Arithmetic, Call, Cost, Tensor

__all__ = [
    "SCALAR_TYPES",
    "Rule",
    "Unreadable",
    "flag",
    "integer",
    "integers",
    "mask_of",
    "number",
    "numbers",
    "optional_tensor",
    "tensor",
    "tensor_list",
    "vector_cost",
]

Rule: TypeAlias = Callable[[Call], Cost | None]

# c10/core/ScalarType.h: an argument `dtype` is recorded as this number.
SCALAR_TYPES = {
    0: "unsigned char",
    1: "signed char",
    2: "short int",
    3: "int",
    4: "long int",
    5: "c10::Half",
    6: "float",
    7: "double",
    9: "c10::complex<float>",
    10: "c10::complex<double>",
    11: "bool",
    15: "c10::BFloat16",
}
_NUMBER = re.compile(r"-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf)|nan")


class Unreadable(Exception):
    """An argument that the rule needs was not recorded, or is not what the operator's schema says."""


def _at(call: Call, index: int) -> object:
    return call.arguments[index] if index < len(call.arguments) else None


def optional_tensor(call: Call, index: int) -> Tensor | None:
    argument = _at(call, index)
    return argument if isinstance(argument, Tensor) else None


def tensor(call: Call, index: int, rank: int = 0) -> Tensor:
    """The tensor there, of rank dimensions or more."""
    found = optional_tensor(call, index)
    if found is None or len(found.dims) < rank:
        raise Unreadable
    return found


def tensor_list(call: Call, index: int) -> tuple[Tensor, ...]:
    argument = _at(call, index)
    if not isinstance(argument, tuple):
        raise Unreadable
    return argument


def numbers(call: Call, index: int) -> tuple[float, ...]:
    """The numbers of `[2, 2]`, or of `2`."""
    argument = _at(call, index)
    if not isinstance(argument, str):
        raise Unreadable
    return tuple(float(text) for text in _NUMBER.findall(argument))


def number(call: Call, index: int) -> float:
    found = numbers(call, index)
    if len(found) != 1:
        raise Unreadable
    return found[0]


def integers(call: Call, index: int, count: int | None = None) -> tuple[int, ...]:
    """The whole numbers of `[2, 2]`; count of them, where a single one stands for all of its kind."""
    try:
        found = tuple(int(value) for value in numbers(call, index))
    except (OverflowError, ValueError):  # inf, nan
        raise Unreadable from None
    if count is None or len(found) == count:
        return found
    if len(found) != 1:
        raise Unreadable
    return found * count


def integer(call: Call, index: int) -> int:
    return integers(call, index, 1)[0]


def flag(call: Call, index: int, default: bool | None = None) -> bool:
    """A truth value; default where it was not recorded, and needed where there is no default."""
    argument = _at(call, index)
    if argument in ("True", "False"):
        return argument == "True"
    if default is None:
        raise Unreadable
    return default


def mask_of(call: Call, index: int | None) -> tuple[bool, bool, bool]:
    """A backward's output_mask, `[True, True, False]`: of which inputs it gives gradients. All, where index is None."""
    if index is None:
        return True, True, True
    argument = _at(call, index)
    words = argument.strip("[]").split(", ") if isinstance(argument, str) else []
    if len(words) != 3 or not set(words) <= {"True", "False"}:
        raise Unreadable
    return words[0] == "True", words[1] == "True", words[2] == "True"


def vector_cost(flops: float, moved: Iterable[Tensor | None] | float, dtype: str) -> Cost:
    """Work for no tensor core. moved: what is read and written, a tensor that is both twice; or its bytes."""
    if not isinstance(moved, (int, float)):
        moved = sum(each.bytes for each in moved if each is not None)
    return Cost(float(flops), float(moved), Arithmetic.VECTOR, dtype)
