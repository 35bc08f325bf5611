"""The user's own model: from `package.module:factory`, or pickled by recommend(). It stays as the user built it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autotune.errors import AutotuneError, UsageError

__all__ = ["from_factory", "from_pickle"]


def from_factory(name: str) -> nn.Module:
    """Import `package.module:factory`, with the working directory on sys.path, and call it without arguments.

    Raises UsageError where the module or the factory does not exist, fails, or returns no nn.Module.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"--model {name}: write it as package.module:factory")
    # As `python script.py` and `python -m` do; it stays there, for what the model imports when it first runs.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--model {name}: no module named {error.name!r}; run autotune from the folder that holds it, or install it"
        ) from None
    except Exception as error:
        raise UsageError(f"--model {name}: importing {module_name} failed with {_in_short(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(
                f"--model {name}: {module_name} has no {attribute!r}; name the function that returns the model"
            )
        found = getattr(found, part)
    return _built(found, f"--model {name}")


def from_pickle(path: str, label: str) -> nn.Module:
    """The module that a file holds, or that the factory in it returns.

    The file is trusted: loading runs what is in it. Raises UsageError where it is absent, AutotuneError where it
    cannot be loaded.
    """
    if not Path(path).is_file():
        raise UsageError(f"{path}: no pickled model there")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise AutotuneError(
            f"{label}: the model cannot be loaded in another process ({_in_short(error)}); "
            f"define it in a module that can be imported"
        ) from error
    return _built(content, label)


def _built(found: Any, label: str) -> nn.Module:
    """The module itself, or what the factory returns."""
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise UsageError(f"{label}: a {type(found).__name__} is neither a model nor a function that returns one")
    try:
        model = found()
    except Exception as error:
        raise UsageError(f"{label}: the factory failed with {_in_short(error)}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"{label}: the factory returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def _in_short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
