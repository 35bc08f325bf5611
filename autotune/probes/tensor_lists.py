"""The lists of tensors that operators were called with, which no exported trace holds.

torch.profiler writes the shapes of a list's members but not their types, and of a list of more than 30 members nothing
(torch/csrc/profiler/util.h, TENSOR_LIST_DISPLAY_LENGTH_LIMIT): on a GPU that is every update of an optimizer. The
profiler's own tree of events has them whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["tensor_lists"]

# As the profiler writes them into traces.
_NAMES = {
    torch.bool: "bool",
    torch.uint8: "unsigned char",
    torch.int8: "signed char",
    torch.int16: "short int",
    torch.int32: "int",
    torch.int64: "long int",
    torch.float16: "c10::Half",
    torch.bfloat16: "c10::BFloat16",
    torch.float32: "float",
    torch.float64: "double",
}


def tensor_lists(profiler: torch.profiler.profile) -> dict[str, Any]:
    """What a stopped profiler knows of lists of tensors, fit for JSON.

    calls: for each operator's `External id`, a number into lists. lists: the distinct ones, each
    `{"0": [[[64], "float"], ...]}`: by the argument's place, shape and type of each member.
    Empty where this torch keeps no such tree.
    """
    numbers: dict[tuple[Any, ...], int] = {}
    calls: dict[int, int] = {}
    for event in _events(profiler):
        found = tuple(
            (place, tuple((tuple(each.sizes), _NAMES.get(each.dtype, "")) for each in argument))
            for place, argument in enumerate(getattr(event.extra_fields, "inputs", None) or ())
            if isinstance(argument, list) and argument and hasattr(argument[0], "sizes")
        )
        if found:
            calls[event.correlation_id] = numbers.setdefault(found, len(numbers))
    return {"calls": calls, "lists": [{str(place): members for place, members in found} for found in numbers]}


def _events(profiler: torch.profiler.profile) -> Iterator[Any]:
    results = getattr(profiler.profiler, "kineto_results", None)
    tree = getattr(results, "experimental_event_tree", None)
    waiting = list(tree()) if tree is not None else []
    while waiting:
        event = waiting.pop()
        yield event
        waiting.extend(event.children)
