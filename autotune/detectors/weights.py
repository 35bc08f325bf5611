"""A user's state dict into a model, with one sentence about the first key that does not fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from autotune.errors import AutotuneError, UsageError

__all__ = ["first_mismatch", "load_weights", "read_state_dict"]


def read_state_dict(path: str) -> dict[str, torch.Tensor]:
    """The state dict in a file: alone, or under `model`, where torchvision's reference training puts it.

    Raises UsageError where the file is absent, AutotuneError where it holds something else.
    """
    if not Path(path).is_file():
        raise UsageError(
            f"{path}: no weights file there; give the path of a state dict, or `default` for torchvision's"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise AutotuneError(
            f"{path}: cannot be read as a state dict ({reason}); save one with torch.save(model.state_dict(), path)"
        ) from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(v, torch.Tensor) for v in content.values())
    ):
        raise AutotuneError(
            f"{path}: holds a {type(content).__name__} that is not a state dict; "
            f"save one with torch.save(model.state_dict(), path)"
        )
    return dict(content)


def first_mismatch(model: nn.Module, state: Mapping[str, torch.Tensor]) -> str | None:
    """What is wrong with the first key that does not fit, in words; None where all fit.

    Batch counters are not compared: frozen batch norm has none, and no step depends on them.
    """
    own = model.state_dict()
    for key, tensor in own.items():
        if key.endswith("num_batches_tracked"):
            continue
        if key not in state:
            return f"it has no {key}"
        if state[key].shape != tensor.shape:
            return f"{key} is of shape {tuple(state[key].shape)} where the model has {tuple(tensor.shape)}"
    extra = next((key for key in state if key not in own and not key.endswith("num_batches_tracked")), None)
    return None if extra is None else f"the model has no {extra}"


def load_weights(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load a state dict in which first_mismatch finds nothing."""
    model.load_state_dict(dict(state), strict=False)
