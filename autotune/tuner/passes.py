"""Passes over the images, which come in turn: what they make of each config's batches is the same in every pass."""

from __future__ import annotations

import math

__all__ = ["batches_in_turn", "whole_passes"]

# A pass that takes no more steps than this is never taken in part, where time allows.
_PASS_AT_MOST = 16


def batches_in_turn(images_in_turn: int, effective_batch: int) -> int:
    """After so many steps the images come again in the same batches."""
    return images_in_turn // math.gcd(images_in_turn, effective_batch)


def whole_passes(steps: int, a_pass: int | None) -> int:
    """So many steps, and those that whole passes want, where one takes few. a_pass: its steps, None if not known."""
    if a_pass is None or a_pass > _PASS_AT_MOST:
        return steps
    return a_pass * math.ceil(steps / a_pass)
