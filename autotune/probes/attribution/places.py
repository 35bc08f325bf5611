"""The place of each operator: its layer and its phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from autotune.probes.traces.events import ABSENT, Flags, Ints, Spans, Trace
from autotune.probes.traces.links import Links
from autotune.probes.traces.nesting import enclosing, parents
from autotune.profile_record import UNATTRIBUTED, Phase
from autotune.ranges import BACKWARD, LAYER, LOSS, OPTIMIZER, UPDATE

__all__ = ["Place", "Places", "places_of"]

# torch's own ranges around every optimizer's step and zero_grad.
_UPDATES = (UPDATE, "Optimizer.")
_NODE = "autograd::engine::evaluate_function"
_ACCUMULATE = f"{_NODE}: torch::autograd::AccumulateGrad"


class Place(NamedTuple):
    layer: str
    phase: Phase


@dataclass(frozen=True, eq=False)
class Places:
    """codes: for each operator a number into names; launches: the same for each launch, by the ranges around it alone.
    parent: the operator around each operator, or ABSENT.

    by_operator: the trace names no layers, so that the names are those of operators.
    """

    codes: Ints
    launches: Ints
    names: tuple[Place, ...]
    parent: Ints
    by_operator: bool


def places_of(trace: Trace, links: Links) -> Places:
    """Forward operators by the innermost `layer:` range around them on their thread, backward ones by their forward
    operator's. What autograd runs again (checkpoints) lies in ranges of its own.

    Where a trace has no such ranges, an operator's layer is the outermost operator around it (around its forward
    operator, for a backward one).
    """
    operators = trace.operators
    parent = parents(operators)
    layers = _Rows(trace, LAYER)
    by_operator = not len(layers.rows)
    own = _outermost_names(trace, parent) if by_operator else layers.around(operators)
    linked = np.where(links.forward != ABSENT, np.append(own, ABSENT)[links.forward], ABSENT)
    in_node = _inside(parent, trace.starts_with(operators, _NODE))
    in_call = _Rows(trace, BACKWARD).around(operators) != ABSENT
    backward = (links.forward != ABSENT) | in_node | in_call
    layer = np.where((own != ABSENT) & ~(backward & by_operator), own, linked)
    placed = _Placed(
        layer=_accumulated(trace, parent, layer),
        backward=backward,
        in_update=_in_update(trace, operators),
        starts_backward=in_call & ~in_node,
    )
    launched = _Placed(
        layer=layers.around(trace.launches),
        backward=_Rows(trace, BACKWARD).around(trace.launches) != ABSENT,
        in_update=_in_update(trace, trace.launches),
        starts_backward=np.zeros(len(trace.launches), dtype=bool),
    )
    codes, names = _named(trace, placed, launched)
    return Places(codes[: len(operators)], codes[len(operators) :], names, parent, by_operator)


@dataclass(frozen=True, eq=False)
class _Placed:
    """Where rows lie. layer: a name code or ABSENT. starts_backward: in the call of backward, but in no node of it."""

    layer: Ints
    backward: Flags
    in_update: Flags
    starts_backward: Flags


class _Rows:
    """The annotations whose name starts with a prefix."""

    def __init__(self, trace: Trace, prefix: str) -> None:
        self.rows = np.flatnonzero(trace.starts_with(trace.annotations, prefix))
        self._spans = trace.annotations.rows(self.rows)

    def around(self, spans: Spans) -> Ints:
        """The name code of the innermost of them around each span, or ABSENT."""
        return np.append(self._spans.name, ABSENT)[enclosing(self._spans, spans)]


def _inside(parent: Ints, rows: Flags) -> Flags:
    """Which operators are one of rows or lie inside one."""
    inside = rows.copy()
    above = parent.copy()
    while (above != ABSENT).any():
        inside |= np.append(rows, False)[above]
        above = np.append(parent, ABSENT)[above]
    return inside


def _outermost_names(trace: Trace, parent: Ints) -> Ints:
    """The name code of the outermost operator around each, itself where there is none; autograd's wrappers aside."""
    wrapper = trace.starts_with(trace.operators, "autograd::") | trace.starts_with(trace.operators, "torch::autograd::")
    top = np.arange(len(parent))
    above = parent.copy()
    while (above != ABSENT).any():
        here = (above != ABSENT) & ~np.append(wrapper, True)[above]
        top[here] = above[here]
        above = np.append(parent, ABSENT)[above]
    return trace.operators.name[top]


def _accumulated(trace: Trace, parent: Ints, layer: Ints) -> Ints:
    """An AccumulateGrad node has no forward operator; its layer is that of the node before it on its thread.

    Autograd's queue puts it before all other nodes that are ready, so that it runs right after the node that made its
    gradient (torch/csrc/autograd/engine.cpp, CompareNodeTaskTime: its sequence number is the greatest of all).
    """
    operators = trace.operators
    nodes = np.flatnonzero(trace.starts_with(operators, _NODE))
    accumulates = trace.starts_with(operators, _ACCUMULATE)
    layer = layer.copy()
    last: dict[tuple[int, int], int] = {}
    for row in nodes[np.argsort(operators.start_ns[nodes], kind="stable")].tolist():
        thread = (int(operators.pid[row]), int(operators.tid[row]))
        if accumulates[row]:
            layer[row] = last.get(thread, ABSENT)
        elif layer[row] != ABSENT:
            last[thread] = int(layer[row])
    # What lies inside follows.
    missing = _inside(parent, accumulates) & (layer == ABSENT)
    above = parent.copy()
    while (missing & (above != ABSENT)).any():
        layer = np.where(missing & (layer == ABSENT), np.append(layer, ABSENT)[above], layer)
        above = np.append(parent, ABSENT)[above]
    return layer


def _in_update(trace: Trace, spans: Spans) -> Flags:
    inside = np.zeros(len(spans), dtype=bool)
    for prefix in _UPDATES:
        inside |= _Rows(trace, prefix).around(spans) != ABSENT
    return inside


def _named(trace: Trace, *placed: _Placed) -> tuple[Ints, tuple[Place, ...]]:
    """The code of each row, and the places that the codes stand for."""
    layer = np.concatenate([each.layer for each in placed])
    in_update = np.concatenate([each.in_update for each in placed])
    backward = np.concatenate([each.backward for each in placed])
    # The update is of all layers at once, and the first gradient of all is the loss's own.
    of_loss = np.concatenate([each.starts_backward for each in placed]) & (layer == ABSENT)
    special = np.where(in_update, 1, np.where(of_loss, 2, 0))
    phase = np.where(in_update, 2, np.where(backward, 1, 0))
    keys = np.stack([np.where(special == 0, layer, ABSENT), phase, special], axis=1)
    distinct, codes = np.unique(keys, axis=0, return_inverse=True)
    phases = tuple(Phase)
    names = []
    for name, number, kind in distinct.tolist():
        found = UNATTRIBUTED if name == ABSENT else trace.names[name].removeprefix(LAYER)
        names.append(Place((found, OPTIMIZER, LOSS)[kind], phases[number]))
    return codes.reshape(-1).astype(np.int64), tuple(names)
