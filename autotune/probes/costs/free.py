"""Operators that move nothing: memory is reserved, or the same memory gets another shape.

Only those that never nest a copy. reshape, contiguous, flatten and to copy where they must: they have no cost of their
own, so that a nested copy counts. torch::autograd::AccumulateGrad has none either: it keeps a gradient for nothing, and
an addition or a copy that it needs is nested in it.
"""

from __future__ import annotations

from autotune.probes.costs.arguments import Rule
from autotune.probes.costs.call import Arithmetic, Call, Cost, Tensor

__all__ = ["RULES"]

_MEMORY = """empty empty_like empty_strided new_empty new_empty_strided empty_permuted resize_ resize_as_ set_
    _resize_output_"""
_VIEWS = """view view_as _unsafe_view _reshape_alias as_strided as_strided_ expand expand_as broadcast_to permute
    movedim transpose transpose_ swapaxes t t_ select slice narrow squeeze squeeze_ unsqueeze unsqueeze_ unbind split
    split_with_sizes chunk tensor_split diagonal unfold alias detach detach_ lift_fresh real imag view_as_real
    view_as_complex broadcast_tensors meshgrid unflatten mT numpy_T requires_grad_ _has_compatible_shallow_copy_type
    result_type"""


def _free(call: Call) -> Cost:
    dtype = next((each.dtype for each in call.arguments if isinstance(each, Tensor)), "")
    return Cost(0.0, 0.0, Arithmetic.VECTOR, dtype)


RULES: dict[str, Rule] = {
    **{f"aten::{name}": _free for name in (_MEMORY + " " + _VIEWS).split()},
    # Recorded once more by Python's own binding.
    "detach": _free,
    "detach_": _free,
    # A handful of scalars.
    "aten::_amp_update_scale_": _free,
}
