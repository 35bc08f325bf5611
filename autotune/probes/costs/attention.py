"""Fused scaled dot-product attention, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from autotune.probes.costs.arguments import Rule, Unreadable, flag, optional_tensor, tensor
from autotune.probes.costs.call import Arithmetic, Call, Cost, Tensor

__all__ = ["RULES"]

_STATISTIC_BYTES = 4  # of each query's log-sum-exp, float32 in every kernel


@dataclass(frozen=True, slots=True)
class _Order:
    """Where a schema has is_causal, and the bias that is added to the scores."""

    causal: int
    bias: int | None = None


def _forward(order: _Order) -> Rule:
    """query (..., heads, S, E), key (..., S', E), value (..., S', V): 2 S S' (E + V) FLOPs a head, two matrix products;
    of causal attention those pairs alone that are not masked. The softmax's few FLOPs a pair are left out
    (torch.utils.flop_counter, sdpa_flop_count, which counts masked pairs too)."""

    def rule(call: Call) -> Cost:
        query, key, value = (tensor(call, place, rank=2) for place in range(3))
        bias = None if order.bias is None else optional_tensor(call, order.bias)
        pairs = _pairs(query, key, flag(call, order.causal, default=False))
        flops = 2.0 * pairs * (query.dims[-1] + value.dims[-1])
        return Cost(flops, _bytes(query, key, value, bias, whole=1), Arithmetic.MATRIX, query.dtype)

    return rule


def _backward(order: _Order) -> Rule:
    """Five matrix products: the scores again, and the gradients of value, of the probabilities, of query and of key:
    2 S S' (3 E + 2 V) FLOPs a head (Dao et al. 2022, arXiv 2205.14135, algorithm 4; sdpa_backward_flop_count)."""

    def rule(call: Call) -> Cost:
        query, key, value = (tensor(call, place, rank=2) for place in range(1, 4))
        bias = None if order.bias is None else optional_tensor(call, order.bias)
        pairs = _pairs(query, key, flag(call, order.causal, default=False))
        flops = 2.0 * pairs * (3 * query.dims[-1] + 2 * value.dims[-1])
        return Cost(flops, _bytes(query, key, value, bias, whole=2), Arithmetic.MATRIX, query.dtype)

    return rule


def _pairs(query: Tensor, key: Tensor, causal: bool) -> float:
    """Pairs of a query and a key, over the batch and the query's heads (grouped-query keys are shared)."""
    if query.dims[-1] != key.dims[-1]:
        raise Unreadable
    queries, keys = query.dims[-2], key.dims[-2]
    masked = 0
    if causal:  # query i sees keys 0 to i
        short = min(queries, keys)
        masked = queries * keys - (short * (short + 1) // 2 + (queries - short) * keys)
    return float(prod(query.dims[:-2]) * (queries * keys - masked))


def _bytes(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, whole: int) -> float:
    """query, key, value and bias are read, the output and each query's statistic written; a backward (whole 2) reads
    all of them and the output's gradient, and writes three gradients: each of these sizes once more."""
    rows = prod(query.dims[:-1])
    output = rows * value.dims[-1] * query.item_bytes
    moved = query.bytes + key.bytes + value.bytes + output
    return float(whole * moved + rows * _STATISTIC_BYTES + (bias.bytes if bias is not None else 0))


# aten::scaled_dot_product_attention chooses one of these, or the `_math` form, which decomposes into matrix products
# and a softmax: neither has a cost of its own.
RULES: dict[str, Rule] = {
    "aten::_scaled_dot_product_flash_attention": _forward(_Order(causal=4)),
    "aten::_scaled_dot_product_flash_attention_for_cpu": _forward(_Order(causal=4)),
    "aten::_scaled_dot_product_efficient_attention": _forward(_Order(causal=6, bias=3)),
    "aten::_scaled_dot_product_cudnn_attention": _forward(_Order(causal=6, bias=3)),
    "aten::_scaled_dot_product_flash_attention_backward": _backward(_Order(causal=11)),
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": _backward(_Order(causal=7)),
    "aten::_scaled_dot_product_efficient_attention_backward": _backward(_Order(causal=11, bias=4)),
    "aten::_scaled_dot_product_cudnn_attention_backward": _backward(_Order(causal=14, bias=8)),
}
