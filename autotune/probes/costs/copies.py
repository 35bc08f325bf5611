"""Operators that move data and compute nothing: copies, fills, concatenation, gathering and scattering."""

from __future__ import annotations

from math import prod

from autotune.probes.costs.arguments import (
    Rule,
    Unreadable,
    flag,
    integer,
    integers,
    number,
    optional_tensor,
    tensor,
    tensor_list,
    vector_cost,
)
from autotune.probes.costs.call import Call, Cost, Tensor
from autotune.probes.costs.shapes import broadcast, window_outputs

__all__ = ["RULES"]

_INDEX_BYTES = 8
_RANDOM_FLOPS = 10  # a number of Philox (ten rounds for four numbers) and its scaling; by convention here


def _copy(call: Call) -> Cost:
    """copy_(to, from): reads the one and writes the other, each in its type; a cast is one of these."""
    target, source = tensor(call, 0), tensor(call, 1)
    return vector_cost(0, [target, source], target.dtype)


def _same_size(call: Call) -> Cost:
    """Reads a tensor and writes another like it."""
    source = tensor(call, 0)
    return vector_cost(0, [source, source], source.dtype)


def _fill(flops: int = 0) -> Rule:
    def rule(call: Call) -> Cost:
        target = tensor(call, 0)
        return vector_cost(flops * target.count, [target], target.dtype)

    return rule


def _join(call: Call) -> Cost:
    """cat, stack: reads each tensor of the list and writes all of them."""
    members = tensor_list(call, 0)
    return vector_cost(0, [*members, *members], members[0].dtype if members else "float")


def _pad(call: Call) -> Cost:
    """constant_pad_nd: pairs of widths from the last dimension on, negative where it crops."""
    source, widths = tensor(call, 0), integers(call, 1)
    sizes = list(source.dims)
    if len(widths) % 2 or len(widths) > 2 * len(sizes):
        raise Unreadable
    for place in range(len(widths) // 2):
        sizes[-1 - place] += widths[2 * place] + widths[2 * place + 1]
    written = Tensor(tuple(sizes), source.dtype)
    return vector_cost(0, float(min(source.bytes, written.bytes) + written.bytes), source.dtype)


def _arange(call: Call) -> Cost:
    """(end, ...) has five arguments, (start, end, ...) six, (start, end, step, ...) seven; the fill is nested in it."""
    count = len(call.arguments)
    if count not in (5, 6, 7):
        raise Unreadable
    start = number(call, 0) if count > 5 else 0.0
    end, step = number(call, 1 if count > 5 else 0), number(call, 2) if count == 7 else 1.0
    if step == 0:
        raise Unreadable
    return vector_cost(0, max((end - start) / step, 0.0) * _INDEX_BYTES, "long int")


def _index(call: Call) -> Cost:
    """index(self, indices): the indices broadcast, and stand for as many leading dimensions of self; reads and writes
    what they pick. The profiler writes down no list of optional tensors, so that most calls are not modelled: what a
    mask picks depends on the data, and a gather may pick more than self has."""
    source, indices = tensor(call, 0), tensor_list(call, 1)
    if len(indices) > len(source.dims) or any(each.dtype == "bool" for each in indices):
        raise Unreadable
    picked = prod(broadcast(each.dims for each in indices)) * prod(source.dims[len(indices) :])
    indices_bytes = sum(each.count for each in indices) * _INDEX_BYTES
    return vector_cost(0, float(2 * picked * source.item_bytes + indices_bytes), source.dtype)


def _index_put(call: Call) -> Cost:
    """index_put_(self, indices, values, accumulate): reads values and an index for each, and writes as many elements,
    which it reads as well where it accumulates. A single value is broadcast to a count that no trace has. Out of place,
    as in its own backward pass, self is copied first."""
    target, values = tensor(call, 0), tensor(call, 2, rank=1)
    accumulates = flag(call, 3, default=False)
    moved = values.bytes + (2 if accumulates else 1) * values.count * target.item_bytes + _INDEX_BYTES * values.dims[0]
    moved += 0 if call.name.endswith("_") else 2 * target.bytes
    return vector_cost(values.count if accumulates else 0, float(moved), target.dtype)


def _gather(call: Call) -> Cost:
    """gather(self, dim, index): reads an index and an element, and writes the element, for each of the index."""
    source, index = tensor(call, 0), tensor(call, 2)
    return vector_cost(0, float(index.bytes + 2 * index.count * source.item_bytes), source.dtype)


def _scatter(reads: bool) -> Rule:
    """scatter_(self, dim, index, source): for each of the index reads it and the source, and writes an element, which
    it reads first where it adds. Out of place, self is copied first."""

    def rule(call: Call) -> Cost:
        target, index, source = tensor(call, 0), tensor(call, 2), optional_tensor(call, 3)
        moved = index.bytes + (2 if reads else 1) * index.count * target.item_bytes
        moved += index.count * source.item_bytes if source is not None and source.dims else 0
        moved += 0 if call.name.endswith("_") else 2 * target.bytes
        return vector_cost(index.count if reads else 0, float(moved), target.dtype)

    return rule


def _index_select(call: Call) -> Cost:
    """index_select(self, dim, index): reads and writes a slice for each index."""
    source, dimension, index = tensor(call, 0, rank=1), integer(call, 1), tensor(call, 2)
    if not -len(source.dims) <= dimension < len(source.dims):
        raise Unreadable
    picked = source.count // max(source.dims[dimension], 1) * index.count
    return vector_cost(0, float(2 * picked * source.item_bytes + index.bytes), source.dtype)


def _index_add(call: Call) -> Cost:
    """index_add_(self, dim, index, source): reads the source and what it is added to, and writes the sum."""
    target, index, source = tensor(call, 0), tensor(call, 2), tensor(call, 3)
    copied = 0 if call.name.endswith("_") else 2 * target.bytes
    return vector_cost(source.count, float(index.bytes + 3 * source.bytes + copied), target.dtype)


def _embedding(call: Call) -> Cost:
    """embedding(weight, indices): reads and writes a row for each index, not the whole table."""
    weight, indices = tensor(call, 0, rank=2), tensor(call, 1)
    rows = indices.count * weight.dims[-1]
    return vector_cost(0, float(indices.bytes + 2 * rows * weight.item_bytes), weight.dtype)


def _embedding_backward(call: Call) -> Cost:
    """embedding_dense_backward(gradient, indices, rows, ...): writes the whole table's gradient, and adds to rows."""
    gradient, indices, rows = tensor(call, 0, rank=1), tensor(call, 1), integer(call, 2)
    table = rows * gradient.dims[-1] * gradient.item_bytes
    return vector_cost(gradient.count, float(gradient.bytes + indices.bytes + table), gradient.dtype)


def _dropout(call: Call) -> Cost:
    """native_dropout: draws a number for each element, and writes the result and a mask of a byte."""
    source = tensor(call, 0)
    mask = Tensor(source.dims, "bool")
    return vector_cost((_RANDOM_FLOPS + 2) * source.count, [source, source, mask], source.dtype)


def _unfold(call: Call) -> Cost:
    """im2col(self, kernel, dilation, padding, stride): writes each window's elements side by side."""
    source, window = tensor(call, 0, rank=3), integers(call, 1, 2)
    dilation, padding, stride = (integers(call, place, 2) for place in (2, 3, 4))
    positions = prod(window_outputs(source.dims[-2:], window, stride, padding, dilation))
    written = prod(source.dims[:-2]) * prod(window) * positions
    return vector_cost(0, float(source.bytes + written * source.item_bytes), source.dtype)


# aten::to, _to_copy, contiguous, reshape, zeros, zeros_like, full, index_fill and the like wrap a copy_ or a fill_, or
# nothing at all where no copy is needed: the nested operator knows.
RULES: dict[str, Rule] = {
    "aten::copy_": _copy,
    **{f"aten::{name}": _same_size for name in ("clone", "flip", "roll", "tril", "triu", "_local_scalar_dense")},
    **{f"aten::{name}": _fill() for name in ("fill_", "zero_", "eye")},
    **{f"aten::{name}": _fill(_RANDOM_FLOPS) for name in ("uniform_", "normal_", "random_", "bernoulli_")},
    "aten::cat": _join,
    "aten::stack": _join,
    "aten::constant_pad_nd": _pad,
    "aten::arange": _arange,
    "aten::index": _index,
    "aten::index_put": _index_put,
    "aten::index_put_": _index_put,
    "aten::_index_put_impl_": _index_put,
    "aten::gather": _gather,
    "aten::scatter": _scatter(reads=False),
    "aten::scatter_": _scatter(reads=False),
    "aten::scatter_add": _scatter(reads=True),
    "aten::scatter_add_": _scatter(reads=True),
    "aten::index_select": _index_select,
    "aten::index_add": _index_add,
    "aten::index_add_": _index_add,
    "aten::embedding": _embedding,
    "aten::embedding_dense_backward": _embedding_backward,
    "aten::native_dropout": _dropout,
    "aten::im2col": _unfold,
}
