"""Times as people write them: `90s`, `5m`, `1.5h`, `120`."""

from __future__ import annotations

import math
import re

from autotune.errors import UsageError

__all__ = ["seconds"]

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def seconds(text: str | float) -> float:
    """A duration in seconds. Raises UsageError for anything but a positive number with an optional unit."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(s|m|min|h|)\s*", str(text).lower())
    value = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not math.isfinite(value) or value <= 0.0:
        raise UsageError(f"budget {text!r}: not a time; write it as 90s, 5m or 1h")
    return value
