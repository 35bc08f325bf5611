"""Numbers as people read them: three digits, an SI prefix, milliseconds."""

from __future__ import annotations

__all__ = ["GIB", "decimals", "gib", "milliseconds", "si"]

GIB = 2**30

_PREFIXES = {-3: "n", -2: "u", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P", 6: "E"}


def si(value: float, unit: str = "") -> str:
    """value in three digits: `61.2 TFLOP/s`, `2.31 us`."""
    # Rounded first, so that 999.6 becomes 1.00 k.
    mantissa, power = f"{value:.2e}".split("e")
    prefix = min(max(int(power) // 3, -3), 6)
    shift = int(power) - 3 * prefix
    return f"{float(mantissa) * 10.0**shift:.{min(max(2 - shift, 0), 2)}f} {_PREFIXES[prefix]}{unit}".rstrip()


def milliseconds(value: float, beside: float = 0.0) -> str:
    """value with about four digits, or with as many decimals as `beside`, a larger figure next to it."""
    return f"{value:.{decimals(max(value, beside))}f} ms"


def gib(value: float) -> str:
    """Memory in GiB to three digits, or with one decimal where that is more: 0.654, 6.54, 38.5, 139.8."""
    # Rounded first, so that 9.996 becomes 10.0.
    three = float(f"{value:.3g}")
    return f"{value:.{1 if three >= 10.0 else 2 if three >= 1.0 else 3}f}"


def decimals(largest: float) -> int:
    """How many decimals show figures up to largest to about four digits: a column has one number of them."""
    return 1 if largest >= 100.0 else 2 if largest >= 10.0 else 3
