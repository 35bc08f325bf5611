"""Optimizer steps over lists of tensors: `_foreach` operators, fused optimizers, and the gradient scaler's.

The single-tensor operators (addcmul_, lerp_) are elementwise. What a trace tells of a list: see parse_call.
"""

from __future__ import annotations

from autotune.probes.costs.arguments import Rule, tensor_list, vector_cost
from autotune.probes.costs.call import Call, Cost, Tensor
from autotune.probes.costs.elementwise import FUNCTION_FLOPS

__all__ = ["RULES"]

# FLOPs an element.
_FOREACH = {
    1: """add sub mul div neg abs sqrt rsqrt reciprocal sign ceil floor round trunc frac clamp_min clamp_max maximum
        minimum""",
    3: "addcmul addcdiv lerp",
    FUNCTION_FLOPS: "exp expm1 log log10 log1p log2 pow sin cos tan tanh sigmoid erf",
}
_NORM_FLOPS = 2
_UNSCALE_FLOPS = 2  # a product and a test


def _foreach(flops: int) -> Rule:
    """Reads every list, and writes one like the first: that itself where in place."""

    def rule(call: Call) -> Cost:
        first = tensor_list(call, 0)
        return vector_cost(flops * _count(first), [*_lists(call), *first], _dtype(first))

    return rule


def _norm(call: Call) -> Cost:
    """Reads the list; writes a number for each tensor."""
    first = tensor_list(call, 0)
    return vector_cost(_NORM_FLOPS * _count(first), first, _dtype(first))


def _copy(call: Call) -> Cost:
    """Writes the first list from the second."""
    first = tensor_list(call, 0)
    return vector_cost(0, [*first, *tensor_list(call, 1)], _dtype(first))


def _zero(call: Call) -> Cost:
    first = tensor_list(call, 0)
    return vector_cost(0, first, _dtype(first))


def _fused(flops: int, read_only: int = 1) -> Rule:
    """(parameters, gradients, state lists, ..., step counts, rates): one pass over all. Reads each list, and writes all
    but the gradients. Lists whose tensors are as the parameters count; steps are scalars.

    flops: of the update in torch/optim with weight decay, a few whatever the options: nothing next to its traffic."""

    def rule(call: Call) -> Cost:
        first = tensor_list(call, 0)
        shapes = [each.dims for each in first]
        others = [each for each in call.arguments[1:] if isinstance(each, tuple)]
        lists = [first, *(each for each in others if [member.dims for member in each] == shapes)]
        written = [each for members in (first, *lists[1 + read_only :]) for each in members]
        read = [each for members in lists for each in members]
        return vector_cost(flops * _count(first), [*read, *written], _dtype(first))

    return rule


def _lists(call: Call) -> list[Tensor]:
    return [each for argument in call.arguments if isinstance(argument, tuple) for each in argument]


def _count(tensors: tuple[Tensor, ...]) -> int:
    return sum(each.count for each in tensors)


def _dtype(tensors: tuple[Tensor, ...]) -> str:
    return tensors[0].dtype if tensors else "float"


RULES: dict[str, Rule] = {
    f"aten::_foreach_{name}{suffix}": _foreach(flops)
    for flops, names in _FOREACH.items()
    for name in names.split()
    for suffix in ("", "_")
} | {
    "aten::_foreach_norm": _norm,
    "aten::_foreach_max": _norm,
    "aten::_foreach_copy_": _copy,
    "aten::_foreach_zero_": _zero,
    "aten::_fused_adam_": _fused(14),
    "aten::_fused_adamw_": _fused(14),
    "aten::_fused_sgd_": _fused(6),
    "aten::_fused_adagrad_": _fused(8),
    "aten::_amp_foreach_non_finite_check_and_unscale_": _foreach(_UNSCALE_FLOPS),
}
