"""Tables of what was measured alone: a column that no row has anything for is left out."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["filled"]


def filled(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The headers and cells of the columns in which some row has text, in their order."""
    places = [place for place in range(len(headers)) if any(row[place] for row in rows)]
    return [headers[place] for place in places], [[row[place] for place in places] for row in rows]
