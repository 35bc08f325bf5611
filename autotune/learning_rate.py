"""The learning rate that goes with another effective batch."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["learning_rate_factor", "learning_rate_note"]


def learning_rate_factor(optimizer: Literal["adamw", "sgd"], tuned_batch: int, effective_batch: int) -> float:
    """By how much to multiply a learning rate that was tuned at tuned_batch images a step, to train at effective_batch.

    SGD: linear (Goyal et al. 2017, "Accurate, Large Minibatch SGD", with a warm-up). Adam and AdamW: the square root
    (Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms").
    """
    ratio = effective_batch / tuned_batch
    return ratio if optimizer == "sgd" else math.sqrt(ratio)


def learning_rate_note(optimizer: Literal["adamw", "sgd"], tuned_batch: int, effective_batch: int) -> str | None:
    """The rule in a sentence, with its source; None where the effective batch is the one that was tuned for."""
    if tuned_batch == effective_batch:
        return None
    factor = learning_rate_factor(optimizer, tuned_batch, effective_batch)
    rule = (
        "linearly with it, after a warm-up (Goyal et al. 2017)"
        if optimizer == "sgd"
        else "with its square root (Malladi et al. 2022)"
    )
    name = "SGD" if optimizer == "sgd" else "AdamW"
    return (
        f"Your learning rate was tuned at an effective batch of {tuned_batch}; at {effective_batch} multiply it by "
        f"{factor:.3g}: {name}'s scales {rule}. Neither is a promise: validate it."
    )
