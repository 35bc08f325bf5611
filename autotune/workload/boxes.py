"""Checking a box that comes from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["BORDER_PX", "Box", "clipped", "numbers", "why_bad"]

Box = tuple[float, float, float, float]

# Rounding, and formats that count pixels from 1, put good boxes this far over the border.
BORDER_PX = 1.0


def numbers(values: Sequence[Any]) -> Box | None:
    """Four finite numbers, or None."""
    if len(values) != 4 or any(isinstance(value, bool) for value in values):
        return None
    try:
        a, b, c, d = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return (a, b, c, d) if all(map(math.isfinite, (a, b, c, d))) else None


def why_bad(box: Box, height: int, width: int) -> str | None:
    """What is wrong with (x1, y1, x2, y2) in an image of that size in pixels; None for a good box."""
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        return "a box of no area"
    if x1 < -BORDER_PX or y1 < -BORDER_PX or x2 > width + BORDER_PX or y2 > height + BORDER_PX:
        return f"a box outside its image of {width} x {height} px"
    x1, y1, x2, y2 = clipped(box, height, width)
    return "a box outside its image" if x2 <= x1 or y2 <= y1 else None


def clipped(box: Box, height: int, width: int) -> Box:
    """The part of the box inside the image."""
    x1, y1, x2, y2 = box
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
