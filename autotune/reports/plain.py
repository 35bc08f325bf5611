"""Text that is safe to print."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """text on one line, without control characters: a name or a child's last words could move the cursor."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
