"""The shapes and types of results, which no trace records: PyTorch's own rules for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from autotune.probes.costs.arguments import Unreadable
from autotune.probes.costs.call import Tensor

__all__ = ["broadcast", "promoted", "window_outputs"]

_INTEGERS = ("bool", "unsigned char", "signed char", "short", "short int", "int", "long", "long int")
_FLOATS = ("c10::Half", "c10::BFloat16", "float", "double")
_COMPLEX = ("c10::complex<float>", "c10::complex<double>")
_ORDER = {dtype: place for place, dtype in enumerate(_INTEGERS + _FLOATS + _COMPLEX)}


def broadcast(shapes: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The shape that all of shapes broadcast to: sizes are equal or 1, aligned at the last."""
    sizes = []
    for column in zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1):
        wider = {size for size in column if size != 1}
        if len(wider) > 1:
            raise Unreadable
        sizes.append(wider.pop() if wider else 1)
    return tuple(reversed(sizes))


def promoted(tensors: Iterable[Tensor]) -> str:
    """The type they compute in. Tensors with dimensions decide; a scalar counts if it is of a higher kind only:
    bool and integers < floats < complex (torch.result_type). A Python number is recorded as a scalar tensor too."""
    tensors = list(tensors)
    sized = [each.dtype for each in tensors if each.dims]
    scalars = [each.dtype for each in tensors if not each.dims]
    if not sized:
        return _highest(scalars)
    dtype = _highest(sized)
    higher = [scalar for scalar in scalars if _kind(scalar) > _kind(dtype)]
    # An integer tensor and a Python float make the default float32; `double` is how the float was recorded.
    return dtype if not higher else ("float" if _kind(_highest(higher)) == 1 else _highest(higher))


def window_outputs(
    sizes: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    *,
    ceil: bool = False,
) -> tuple[int, ...]:
    """Positions of a sliding window on each axis: (size + 2 padding - dilation (window - 1) - 1) / stride + 1, rounded
    down, or up for a pooling with ceil_mode, whose last window must still begin inside (torch.nn.Conv2d, MaxPool2d)."""
    if not len(sizes) == len(window) == len(stride) == len(padding) == len(dilation):
        raise Unreadable
    outputs = []
    for size, wide, step, pad, spread in zip(sizes, window, stride, padding, dilation, strict=True):
        if step < 1:
            raise Unreadable
        room = size + 2 * pad - spread * (wide - 1) - 1
        count = (-(-room // step) if ceil else room // step) + 1
        if ceil and (count - 1) * step >= size + pad:
            count -= 1
        outputs.append(max(count, 0))
    return tuple(outputs)


def _highest(dtypes: Iterable[str]) -> str:
    return max(dtypes, key=lambda dtype: _ORDER.get(dtype, -1), default="")


def _kind(dtype: str) -> int:
    return 2 if dtype in _COMPLEX else 1 if dtype in _FLOATS else 0
