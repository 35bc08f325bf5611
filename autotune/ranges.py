"""The names that the training step writes into a trace, and that the analysis finds there again.

A layer's range is `layer:backbone.body.0.0`, the module's qualified name; names in parentheses are no modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = [
    "BACKWARD",
    "COMMUNICATION",
    "INPUTS",
    "LAYER",
    "LOSS",
    "MODEL",
    "OPTIMIZER",
    "STEP",
    "UPDATE",
    "layer_range",
    "opened",
]

LAYER = "layer:"
STEP = "ProfilerStep#"  # as torch.profiler's own schedule names them
BACKWARD = "phase:backward"
UPDATE = "phase:optimizer"

# Rows that are no modules: the detector's own code outside its children, the copies to the device, the sum of the
# losses, the update, and the exchange between GPUs.
MODEL, INPUTS, LOSS, OPTIMIZER = "(model)", "(inputs)", "(loss)", "(optimizer)"
COMMUNICATION = "(communication)"


def opened(name: str) -> torch.profiler.record_function:
    """A context that shows as a range in a trace, and costs microseconds where none is recorded."""
    import torch

    return torch.profiler.record_function(name)


def layer_range(layer: str) -> torch.profiler.record_function:
    return opened(LAYER + layer)
