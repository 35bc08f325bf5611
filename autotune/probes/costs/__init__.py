"""What an operator costs by its shapes: the FLOPs it must do and the bytes it must move."""

from __future__ import annotations

from math import inf

from autotune.probes.costs import (
    attention,
    convolution,
    copies,
    elementwise,
    free,
    losses,
    matrices,
    normalization,
    optimizers,
    reductions,
    regions,
    resampling,
)
from autotune.probes.costs.arguments import Rule, Unreadable
from autotune.probes.costs.call import Argument, Arithmetic, Call, Cost, Tensor
from autotune.probes.costs.reading import parse_call

__all__ = ["Argument", "Arithmetic", "Call", "Cost", "Tensor", "cost_of", "parse_call"]

_FAMILIES = (
    convolution,
    matrices,
    attention,
    normalization,
    elementwise,
    reductions,
    copies,
    resampling,
    losses,
    regions,
    optimizers,
    free,
)
_RULES: dict[str, Rule] = {name: rule for family in _FAMILIES for name, rule in family.RULES.items()}


def cost_of(call: Call) -> Cost | None:
    """The cost of the call and of all that is nested in it; None where it is not modelled.

    Not modelled: operators that nobody wrote a rule for, calls that were recorded without what their rule needs, and
    wrappers. A wrapper (aten::conv2d, linear, matmul, to, reshape, softmax, an autograd node) does its work by nested
    operators alone, and these are asked in its stead: they know in which type autocast computes, and whether anything
    is copied. Walk from the outermost operator inwards, and take the first that has a cost.
    """
    rule = _RULES.get(call.name)
    if rule is None:
        return None
    try:
        cost = rule(call)
    except Unreadable:
        return None
    # An output size or a padding that no tensor can have was recorded.
    return cost if cost is not None and cost.flops >= 0 and 0 <= cost.bytes < inf else None
