"""Losses and their gradients, of those that are operators of their own."""

from __future__ import annotations

from autotune.probes.costs.arguments import Rule, integer, optional_tensor, tensor, vector_cost
from autotune.probes.costs.call import Call, Cost, Tensor
from autotune.probes.costs.elementwise import FUNCTION_FLOPS
from autotune.probes.costs.shapes import broadcast

__all__ = ["RULES"]

_NO_REDUCTION = 0  # at::Reduction: none, mean, sum


def _pointwise(flops: int, reduction_at: int) -> Rule:
    """(self, target, [weight,] reduction, ...): flops an element as the definition in torch.nn has it, and one for the
    sum; writes an element each, or one where it reduces."""

    def rule(call: Call) -> Cost:
        read = [each for each in call.arguments[:reduction_at] if isinstance(each, Tensor)]
        source = tensor(call, 0)
        whole = Tensor(broadcast(each.dims for each in read), source.dtype)
        reduces = integer(call, reduction_at) != _NO_REDUCTION
        written = Tensor((), source.dtype) if reduces else whole
        return vector_cost((flops + reduces) * whole.count, [*read, written], source.dtype)

    return rule


def _pointwise_backward(flops: int, operands: int) -> Rule:
    """(gradient, self, target, [weight]): reads them and writes the gradient of self."""

    def rule(call: Call) -> Cost:
        read = [each for each in call.arguments[:operands] if isinstance(each, Tensor)]
        source = tensor(call, 1)
        whole = Tensor(broadcast(each.dims for each in read), source.dtype)
        return vector_cost(flops * whole.count, [*read, whole], source.dtype)

    return rule


def _nll(call: Call) -> Cost:
    """(self, target, weight, ...): one element of each row is read, that of its target."""
    source, target, weight = tensor(call, 0), tensor(call, 1), optional_tensor(call, 2)
    picked = target.count * source.item_bytes
    return vector_cost(2 * target.count, float(target.bytes + picked + (weight.bytes if weight else 0)), source.dtype)


def _nll_backward(call: Call) -> Cost:
    """(gradient, self, target, ...): zeros the gradient of self, and sets one element of each row; self is not read."""
    gradient, source, target = tensor(call, 0), tensor(call, 1), tensor(call, 2)
    moved = gradient.bytes + target.bytes + source.bytes + target.count * source.item_bytes
    return vector_cost(target.count, float(moved), source.dtype)


# aten::cross_entropy_loss, nll_loss, nll_loss_nd, l1_loss, kl_div and binary_cross_entropy_with_logits are made of
# other operators, whose traffic is real: the nested ones count.
RULES: dict[str, Rule] = {
    "aten::nll_loss_forward": _nll,
    "aten::nll_loss2d_forward": _nll,
    "aten::nll_loss_backward": _nll_backward,
    "aten::nll_loss2d_backward": _nll_backward,
    "aten::binary_cross_entropy": _pointwise(2 * FUNCTION_FLOPS + 4, 3),
    "aten::binary_cross_entropy_backward": _pointwise_backward(6, 4),
    "aten::smooth_l1_loss": _pointwise(5, 2),
    "aten::smooth_l1_loss_backward": _pointwise_backward(5, 3),
    "aten::huber_loss": _pointwise(5, 2),
    "aten::huber_loss_backward": _pointwise_backward(5, 3),
    "aten::mse_loss": _pointwise(2, 2),
    "aten::mse_loss_backward": _pointwise_backward(3, 3),
}
