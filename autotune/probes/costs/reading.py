"""From what the profiler recorded of an operator to a Call."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType

import msgspec

from autotune.probes.costs.call import Argument, Call, Tensor

__all__ = ["parse_call"]

_LIST = msgspec.json.Decoder(list[object])
_VALUES = frozenset(("Scalar", "ScalarList"))
# Lists of other things (optional tensors, strings) and what has no value: nothing of them is recorded.
_NOTHING = frozenset(("", "GenericList", "None", "Device", "String"))
_UNKNOWN_LIST_DTYPE = "float"


def parse_call(
    name: str,
    dims_json: bytes,
    types_json: bytes,
    concrete_json: bytes,
    lists: Mapping[int, tuple[Tensor, ...]] = MappingProxyType({}),
) -> Call:
    """The call of which an exported trace tells `Input Dims`, `Input type` and `Concrete Inputs`, as raw JSON.

    Each may be b"": a trace without shapes, or one older than concrete inputs. What was not recorded, or is not as
    torch.profiler writes it, is an argument None. lists: whole lists of tensors by their place, where autotune recorded
    them. Of other lists a trace has the members' shapes but not their types: they get the type of the call's first
    other tensor of one dimension or more, or of any, or float; and of a long list it has nothing.
    """
    dims, types, concrete = _list(dims_json), _list(types_json), _list(concrete_json)
    arguments: list[Argument] = []
    for index in range(max(len(dims), len(types), len(concrete))):
        arguments.append(_argument(_get(dims, index), _get(types, index), _get(concrete, index)))
    if any(isinstance(argument, tuple) for argument in arguments):
        dtype = _dtype_beside(arguments)
        arguments = [
            tuple(Tensor(member.dims, dtype) for member in argument) if isinstance(argument, tuple) else argument
            for argument in arguments
        ]
    for place, members in lists.items():
        if place < len(arguments):
            arguments[place] = members
    return Call(name, tuple(arguments))


def _list(text: bytes) -> list[object]:
    if not text:
        return []
    try:
        return _LIST.decode(text)
    except msgspec.DecodeError:
        return []


def _get(values: list[object], index: int) -> object:
    return values[index] if index < len(values) else None


def _argument(dims: object, dtype: object, concrete: object) -> Argument:
    if not isinstance(dtype, str) or dtype in _NOTHING:
        return None
    if dtype in _VALUES:
        return concrete if isinstance(concrete, str) and concrete else None
    if dtype == "TensorList":
        return _members(dims)
    shape = _shape(dims)
    return None if shape is None else Tensor(shape, dtype)


def _members(dims: object) -> tuple[Tensor, ...] | None:
    # [] stands for more than 30 tensors, and no operator on a list of none does anything.
    if not isinstance(dims, list) or not dims:
        return None
    shapes = [_shape(member) for member in dims]
    return tuple(Tensor(shape, "") for shape in shapes if shape is not None) if None not in shapes else None


def _shape(dims: object) -> tuple[int, ...] | None:
    """None for what is no shape; a JSON true is an int to Python, but no size."""
    if isinstance(dims, list) and all(type(size) is int and size >= 0 for size in dims):
        return tuple(dims)
    return None


def _dtype_beside(arguments: list[Argument]) -> str:
    beside = [argument for argument in arguments if isinstance(argument, Tensor)]
    sized = (each.dtype for each in beside if each.dims)
    return next(chain(sized, (each.dtype for each in beside)), _UNKNOWN_LIST_DTYPE)
