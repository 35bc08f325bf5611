"""torch's global switches while ceilings are measured: known ones, and the caller's again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autotune.errors import DeviceError

__all__ = ["plain_flags", "set_tf32"]


@contextmanager
def plain_flags(device_type: str) -> Iterator[None]:
    """No TF32, no reduced precision inside fp32, no autocast, no gradients, no cudnn.benchmark; then as before.

    Raises DeviceError where the process has mixed in torch's newer `fp32_precision` settings: then torch refuses to
    read the older ones, so that they could not be restored.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        whole = torch.get_float32_matmul_precision()
        before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark)
    except RuntimeError as error:
        raise DeviceError(
            "ceilings cannot be measured in a process that sets torch's fp32_precision, since the older TF32 flags can "
            "then not be restored; measure in a process of its own"
        ) from error
    # `medium` lets oneDNN compute fp32 products in bf16. Writing only what differs leaves untouched settings untouched.
    if whole != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        cudnn.benchmark = False
        with torch.no_grad(), torch.autocast(device_type, enabled=False):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
        if whole != "highest":
            torch.set_float32_matmul_precision(whole)


def set_tf32(allowed: bool) -> None:
    """TF32 in matrix products and convolutions, or in neither, by torch's older flags, as the precision knob does."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
