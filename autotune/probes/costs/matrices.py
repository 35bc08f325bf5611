"""Matrix products. A product of (m, k) and (k, n) does 2 m k n FLOPs."""

from __future__ import annotations

from math import prod

from autotune.probes.costs.arguments import Rule, Unreadable, optional_tensor, tensor
from autotune.probes.costs.call import Arithmetic, Call, Cost, Tensor

__all__ = ["RULES"]


def _product(left: int, right: int, added: int | None = None) -> Rule:
    """left and right: (..., m, k) and (..., k, n), or a vector (k). FLOPs: 2 m k n for each of the batch, as
    torch.utils.flop_counter has it, and one more for each element that the matrix at `added` is added to."""

    def rule(call: Call) -> Cost:
        first, second = tensor(call, left, rank=1), tensor(call, right, rank=1)
        addend = None if added is None else optional_tensor(call, added)
        inner = first.dims[-1]
        columns = second.dims[-1] if len(second.dims) > 1 else 1
        if inner != second.dims[max(len(second.dims) - 2, 0)]:
            raise Unreadable
        return _cost(first, second, prod(first.dims[:-1]) * columns, addend)

    return rule


def _linear(call: Call) -> Cost:
    """oneDNN's linear: input (..., k), weight (n, k), bias (n)."""
    source, weight = tensor(call, 0, rank=1), tensor(call, 1, rank=2)
    if source.dims[-1] != weight.dims[-1]:
        raise Unreadable
    return _cost(source, weight, prod(source.dims[:-1]) * weight.dims[-2], optional_tensor(call, 2))


def _cost(first: Tensor, second: Tensor, outputs: int, addend: Tensor | None) -> Cost:
    flops = 2.0 * outputs * first.dims[-1]
    moved = first.bytes + second.bytes + outputs * first.item_bytes
    if addend is not None:
        flops += outputs
        moved += addend.bytes
    return Cost(flops, moved, Arithmetic.MATRIX, first.dtype)


# aten::linear, matmul, einsum, mv and the like decompose into these: under autocast their operands are cast inside
# them, so that only the inner product shows in which type it is computed.
RULES: dict[str, Rule] = {
    "aten::mm": _product(0, 1),
    "aten::bmm": _product(0, 1),
    "aten::dot": _product(0, 1),
    "aten::vdot": _product(0, 1),
    **{f"aten::{name}": _product(1, 2, 0) for name in ("addmm", "addmm_", "_addmm_activation", "addmv", "addmv_")},
    **{f"aten::{name}": _product(1, 2, 0) for name in ("baddbmm", "baddbmm_")},
    "aten::mkldnn_linear": _linear,
    "mkldnn::_linear_pointwise": _linear,
}
