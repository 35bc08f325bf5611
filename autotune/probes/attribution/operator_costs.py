"""What each operator of a trace costs, and which operator's cost speaks for those inside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autotune.probes.costs import Cost, Tensor, cost_of, parse_call
from autotune.probes.traces.events import ABSENT, Flags, Ints, Signature, Trace

__all__ = ["Costs", "TensorLists", "costs_of"]

_KEPT = "aten::clone"


@dataclass(frozen=True, eq=False)
class Costs:
    """by_operator: the cost of each operator that is the outermost one with a cost, and of each copy that an operator
    in place keeps for the backward pass. speaker: for each operator that one of them which it is or lies in, or ABSENT.
    """

    by_operator: Mapping[int, Cost]
    speaker: Ints

    @property
    def modelled(self) -> Flags:
        """Which operators a cost speaks for."""
        found: Flags = self.speaker != ABSENT
        return found


@dataclass(frozen=True)
class TensorLists:
    """Whole lists of tensors, as autotune records them beside a trace: calls has for an operator's external id a number
    into lists, which have the members by the argument's place. Empty for a trace of another's."""

    calls: Mapping[int, int] = field(default_factory=dict)
    lists: Sequence[Mapping[int, tuple[Tensor, ...]]] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> TensorLists:
        """From the JSON of probes.tensor_lists. Raises ValueError, TypeError or KeyError where it is none."""
        lists = [
            {
                int(place): tuple(Tensor(tuple(dims), dtype) for dims, dtype in members)
                for place, members in each.items()
            }
            for each in content.get("lists", ())
        ]
        calls = {int(number): lists_at for number, lists_at in content.get("calls", {}).items()}
        if any(not 0 <= each < len(lists) for each in calls.values()):
            raise ValueError("tensor_lists: a call has no list")
        return cls(calls, lists)


def costs_of(trace: Trace, parent: Ints, lists: TensorLists) -> Costs:
    """What the operators of a trace cost; of nested ones the outermost speaks for all inside it.

    But for the copy that autograd makes of what an operator in place overwrites (Hardswish, ReLU6 and SiLU do in
    training): that is traffic of its own, as large as the operator's.
    """
    operators = trace.operators
    called = [lists.calls.get(number, ABSENT) for number in operators.external_id.tolist()]
    calls = list(zip(operators.name.tolist(), operators.signature.tolist(), called, strict=True))
    known: dict[tuple[int, int, int], Cost | None] = {}
    unknown = Signature(b"", b"", b"")
    for name, code, number in set(calls):
        signature = trace.signatures[code] if code != ABSENT else unknown
        whole = lists.lists[number] if number != ABSENT else {}
        known[name, code, number] = cost_of(
            parse_call(trace.names[name], signature.dims, signature.types, signature.concrete, whole)
        )
    costed = np.fromiter((known[call] is not None for call in calls), dtype=bool, count=len(calls))
    # Autocast calls an operator again, on inputs that it has cast: the inner call is what runs.
    again = np.flatnonzero((parent != ABSENT) & (operators.name == np.append(operators.name, ABSENT)[parent]) & costed)
    costed[parent[again]] = False
    speaker = _outermost(costed, parent)
    in_place = np.fromiter((name.endswith("_") for name in trace.names), dtype=bool, count=len(trace.names))
    named = np.fromiter((name == _KEPT for name in trace.names), dtype=bool, count=len(trace.names))
    around = np.append(in_place[operators.name], False)[parent] & (np.append(speaker, ABSENT)[parent] == parent)
    kept = _outermost(costed & named[operators.name] & around, parent)
    speaker = np.where(kept != ABSENT, kept, speaker)
    found = ((row, known[calls[row]]) for row in np.unique(speaker[speaker != ABSENT]).tolist())
    return Costs({row: cost for row, cost in found if cost is not None}, speaker)


def _outermost(flags: Flags, parent: Ints) -> Ints:
    """For each operator the outermost one with its flag that it is or lies in, or ABSENT."""
    found = np.where(flags, np.arange(len(flags)), ABSENT)
    above = parent.copy()
    while (above != ABSENT).any():
        found = np.where(np.append(flags, False)[above], above, found)
        above = np.append(parent, ABSENT)[above]
    return found
