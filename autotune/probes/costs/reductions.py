"""Operators that sum, rank or search along dimensions."""

from __future__ import annotations

from math import log2, prod

from autotune.probes.costs.arguments import SCALAR_TYPES, Rule, Unreadable, integer, integers, tensor, vector_cost
from autotune.probes.costs.call import Call, Cost, Tensor
from autotune.probes.costs.elementwise import FUNCTION_FLOPS

__all__ = ["RULES"]

_INDEX = "long int"


def _reduce(flops: int, dimensions_at: int, result: str | None = None, dtype_at: int | None = None) -> Rule:
    """flops: for each element read. The result has the product of the dimensions that are left; one element where
    none is named. result: its type; dtype_at: where the schema lets one choose it."""

    def rule(call: Call) -> Cost:
        source = tensor(call, 0)
        dtype = result or _chosen(call, dtype_at) or source.dtype
        written = Tensor((_left(call, source, dimensions_at),), dtype)
        return vector_cost(flops * source.count, [source, written], source.dtype)

    return rule


def _extremum(call: Call) -> Cost | None:
    """max and min: of all, or along one dimension with indices; of two tensors aten::maximum is nested in it."""
    if any(isinstance(each, Tensor) for each in call.arguments[1:2]):
        return None
    source = tensor(call, 0)
    written = [Tensor((_left(call, source, 1),), source.dtype)]
    if len(call.arguments) > 1:
        written.append(Tensor(written[0].dims, _INDEX))
    return vector_cost(source.count, [source, *written], source.dtype)


def _sort(call: Call) -> Cost:
    """n log2 n comparisons along the sorted dimension; values and indices are written. A radix sort moves more."""
    source = tensor(call, 0)
    sizes = [size for size in source.dims if size > 1]
    longest = max(sizes, default=1)
    dimension = next(
        (text for text in call.arguments[1:] if isinstance(text, str) and text.lstrip("-").isdigit()), None
    )
    length = source.dims[int(dimension)] if dimension and source.dims and _within(int(dimension), source) else longest
    flops = source.count * log2(max(length, 2))
    return vector_cost(flops, [source, source, Tensor(source.dims, _INDEX)], source.dtype)


def _topk(call: Call) -> Cost:
    """One comparison an element; k values and indices are written of each row (a radix selection reads a few times)."""
    source, wanted = tensor(call, 0), integer(call, 1)
    dimension = integer(call, 2) if len(call.arguments) > 2 else -1
    length = source.dims[dimension] if source.dims and _within(dimension, source) else 1
    kept = source.count // max(length, 1) * min(wanted, length)
    return vector_cost(source.count, [source, Tensor((kept,), source.dtype), Tensor((kept,), _INDEX)], source.dtype)


def _scan(call: Call) -> Cost:
    source = tensor(call, 0)
    written = Tensor(source.dims, _chosen(call, 2) or source.dtype)
    return vector_cost(source.count, [source, written], source.dtype)


def _search(call: Call) -> Cost:
    """nonzero, masked_select, unique: how much they find depends on the data. The reading alone is counted."""
    source = tensor(call, 0)
    mask = call.arguments[1] if len(call.arguments) > 1 else None
    return vector_cost(source.count, [source, mask if isinstance(mask, Tensor) else None], source.dtype)


def _softmax(flops: int, widens_at: int | None = None) -> Rule:
    """Along a dimension: maximum, difference, exponential, sum and quotient of each element. half_to_float widens."""

    def rule(call: Call) -> Cost:
        source = tensor(call, 0)
        wide = widens_at is not None and call.arguments[widens_at : widens_at + 1] == ("True",)
        return vector_cost(
            flops * source.count, [source, Tensor(source.dims, "float" if wide else source.dtype)], source.dtype
        )

    return rule


def _softmax_backward(flops: int) -> Rule:
    """Of the output's gradient and the output: y (g - sum(g y)), or g - exp(y) sum(g) for the logarithm."""

    def rule(call: Call) -> Cost:
        gradient, output = tensor(call, 0), tensor(call, 1)
        return vector_cost(flops * output.count, [gradient, output, output], output.dtype)

    return rule


def _left(call: Call, source: Tensor, dimensions_at: int) -> int:
    try:
        dimensions = integers(call, dimensions_at)
    except Unreadable:
        return 1
    if not dimensions or not all(_within(dimension, source) for dimension in dimensions):
        return 1
    reduced = {dimension % len(source.dims) for dimension in dimensions}
    return prod(size for place, size in enumerate(source.dims) if place not in reduced)


def _within(dimension: int, source: Tensor) -> bool:
    return -len(source.dims) <= dimension < len(source.dims)


def _chosen(call: Call, dtype_at: int | None) -> str | None:
    try:
        return None if dtype_at is None else SCALAR_TYPES.get(integer(call, dtype_at))
    except Unreadable:
        return None


# aten::softmax, log_softmax, norm of a scalar and argsort wrap others; std and var nest nothing.
RULES: dict[str, Rule] = {
    "aten::sum": _reduce(1, 1, dtype_at=3),
    "aten::nansum": _reduce(2, 1, dtype_at=3),
    "aten::mean": _reduce(1, 1, dtype_at=3),
    "aten::prod": _reduce(1, 1),
    "aten::amax": _reduce(1, 1),
    "aten::amin": _reduce(1, 1),
    "aten::max": _extremum,
    "aten::min": _extremum,
    "aten::median": _extremum,
    "aten::mode": _extremum,
    "aten::argmax": _reduce(1, 1, _INDEX),
    "aten::argmin": _reduce(1, 1, _INDEX),
    "aten::any": _reduce(1, 1, "bool"),
    "aten::all": _reduce(1, 1, "bool"),
    "aten::count_nonzero": _reduce(1, 1, _INDEX),
    "aten::var": _reduce(4, 1),
    "aten::std": _reduce(4, 1),
    "aten::var_mean": _reduce(4, 1),
    "aten::std_mean": _reduce(4, 1),
    "aten::norm": _reduce(2, 2),
    "aten::linalg_vector_norm": _reduce(2, 2),
    "aten::logsumexp": _reduce(FUNCTION_FLOPS + 3, 1),
    "aten::sort": _sort,
    "aten::kthvalue": _sort,
    "aten::_unique2": _search,
    "aten::unique_dim": _search,
    "aten::unique_consecutive": _search,
    "aten::nonzero": _search,
    "aten::masked_select": _search,
    "aten::bincount": _search,
    "aten::topk": _topk,
    "aten::cumsum": _scan,
    "aten::cumprod": _scan,
    "aten::cumsum_": _scan,
    "aten::_softmax": _softmax(FUNCTION_FLOPS + 4, widens_at=2),
    "aten::_log_softmax": _softmax(FUNCTION_FLOPS + 4, widens_at=2),
    "aten::_softmax_backward_data": _softmax_backward(4),
    "aten::_log_softmax_backward_data": _softmax_backward(FUNCTION_FLOPS + 3),
}
