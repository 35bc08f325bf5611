"""Data for scripts inside a page: JSON that no text from outside can break out of."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from markupsafe import Markup

__all__ = ["embedded", "rounded"]


def embedded(data: Any) -> Markup:
    """data, of dataclasses and what JSON has, as JSON for a script element.

    `<` is written as \\u003c, so that `</script>` in a name stays text. Raises ValueError for NaN and infinities,
    which are no JSON.
    """
    text = json.dumps(data, default=asdict, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def rounded(value: float | None) -> float | None:
    """value in five digits, more than a chart shows: a page of thousands of layers stays small. None where there is
    no finite number."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None
