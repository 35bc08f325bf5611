"""Operators that compute each element of the result on its own: arithmetic, comparison, activation."""

from __future__ import annotations

from autotune.probes.costs.arguments import Rule, Unreadable, vector_cost
from autotune.probes.costs.call import Call, Cost, Tensor
from autotune.probes.costs.shapes import broadcast, promoted

__all__ = ["FUNCTION_FLOPS", "RULES"]

# By convention here: exp, log, tanh and their like cost eight instructions (CUDA's expf: scaling, range reduction, ex2,
# multiplication), all else one. It never matters: an element moves 8 bytes or more, and no GPU affords 8 FLOPs a byte
# outside its tensor cores but for a few.
FUNCTION_FLOPS = 8


def _elementwise(operands: int, flops: int, result: str | None = None) -> Rule:
    """flops: for each element of the result. The first `operands` arguments are read, each in its own shape; the result
    has the shape that they broadcast to and their common type, or `result`. A further tensor is the `out=` it is
    written to. The result of an in-place operator is its first operand, which is thus read and written.

    An expanded operand counts whole, because a trace's shapes do not tell: too much for the gradient of a sum."""

    def rule(call: Call) -> Cost:
        read = [each for each in call.arguments[:operands] if isinstance(each, Tensor)]
        out = next((each for each in call.arguments[operands:] if isinstance(each, Tensor)), None)
        if not read:
            raise Unreadable
        dtype = promoted(each for each in read if each.dtype != "bool") or "bool"
        in_place = call.name.endswith("_") and not call.name.endswith("__")
        written = read[0] if in_place else Tensor(broadcast(each.dims for each in read), result or dtype)
        if out is not None:
            written = Tensor(written.dims, out.dtype)
        return vector_cost(flops * written.count, [*read, written], dtype)

    return rule


def _where(call: Call) -> Cost | None:
    """where(condition, a, b); where(condition) alone is a nonzero, nested in it."""
    return _THREE(call) if len(call.arguments) > 1 else None


_THREE = _elementwise(3, 1)
_ONE_FLOP = """abs neg negative relu sign sgn sqrt rsqrt reciprocal square ceil floor round trunc frac logical_not
    bitwise_not deg2rad nan_to_num"""
_FUNCTIONS = """exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh erf erfc erfinv logit
    lgamma digamma"""
# name: FLOPs an element. Of an activation: those of its definition in torch.nn, a function as above.
_ACTIVATIONS = {
    "hardtanh": 2,
    "hardsigmoid": 4,
    "hardswish": 5,
    "leaky_relu": 2,
    "sigmoid": FUNCTION_FLOPS + 2,
    "log_sigmoid_forward": FUNCTION_FLOPS * 2 + 3,
    "silu": FUNCTION_FLOPS + 3,
    "mish": 3 * FUNCTION_FLOPS + 2,
    "gelu": FUNCTION_FLOPS + 4,
    "elu": FUNCTION_FLOPS + 3,
    "celu": FUNCTION_FLOPS + 3,
    "softplus": 2 * FUNCTION_FLOPS + 2,
    "threshold": 1,
    "clamp_min": 1,
    "clamp_max": 1,
}
# Of the output's gradient and the kept input or output.
_ACTIVATION_BACKWARDS = {
    "threshold_backward": 1,
    "hardtanh_backward": 2,
    "hardsigmoid_backward": 3,
    "hardswish_backward": 5,
    "leaky_relu_backward": 2,
    "sigmoid_backward": 3,
    "tanh_backward": 3,
    "silu_backward": FUNCTION_FLOPS + 7,
    "mish_backward": 3 * FUNCTION_FLOPS + 9,
    "gelu_backward": 2 * FUNCTION_FLOPS + 8,
    "softplus_backward": FUNCTION_FLOPS + 3,
    "native_dropout_backward": 2,
}
_BINARY = """add sub subtract mul multiply div divide true_divide floor_divide rsub maximum minimum fmax fmin remainder
    fmod bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift"""
_BINARY_FUNCTIONS = "pow atan2 hypot logaddexp xlogy"
_COMPARISONS = "eq ne lt le gt ge greater less not_equal logical_and logical_or logical_xor"
# a t1 t2: a + value t1 t2 is three; clamp's bounds may be tensors; masked_fill's value may.
_TERNARY = {"addcmul": 3, "addcdiv": 3, "lerp": 3, "clamp": 2, "clip": 2, "masked_fill": 1}
_NEVER_IN_PLACE = "log_sigmoid_forward softplus rsub maximum minimum fmax fmin logaddexp"


def _rules() -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    rules |= {name: _elementwise(1, 1) for name in _ONE_FLOP.split()}
    rules |= {name: _elementwise(1, FUNCTION_FLOPS) for name in _FUNCTIONS.split()}
    rules |= {name: _elementwise(1, flops) for name, flops in _ACTIVATIONS.items()}
    rules |= {name: _elementwise(2, 1) for name in _BINARY.split()}
    rules |= {name: _elementwise(2, FUNCTION_FLOPS) for name in _BINARY_FUNCTIONS.split()}
    rules |= {name: _elementwise(2, 1, "bool") for name in _COMPARISONS.split()}
    rules |= {name: _elementwise(3, flops) for name, flops in _TERNARY.items()}
    rules["logical_not"] = _elementwise(1, 1, "bool")
    rules |= {f"{name}_": rule for name, rule in rules.items() if name not in _NEVER_IN_PLACE.split()}
    rules |= {name: _elementwise(2, flops) for name, flops in _ACTIVATION_BACKWARDS.items()}
    rules["elu_backward"] = _elementwise(6, FUNCTION_FLOPS + 3)  # its numbers stand between gradient and input
    rules["where"] = _where
    return {f"aten::{name}": rule for name, rule in rules.items()}


RULES = _rules()
