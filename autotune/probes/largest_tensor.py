"""The largest tensor that a model's layers give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch.nn.modules.module import register_module_forward_hook

__all__ = ["with_largest_tensor"]

Result = TypeVar("Result")


def with_largest_tensor(work: Callable[[], Result]) -> tuple[Result, int]:
    """The result of work, and how many elements the largest output of a module had meanwhile, 0 without any.

    What functions outside modules give is not seen; in detectors convolutions give the largest tensors.
    """
    largest = 0

    def look(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal largest
        largest = max([largest, *(tensor.numel() for tensor in _tensors(output))])

    hook = register_module_forward_hook(look)
    try:
        return work(), largest
    finally:
        hook.remove()


def _tensors(output: Any) -> Iterable[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)
    elif isinstance(getattr(output, "tensors", None), torch.Tensor):  # torchvision's ImageList: the padded batch
        yield output.tensors
