"""layers.csv: one row per layer and phase, every figure of it a column."""

from __future__ import annotations

from typing import Any

from autotune.profile_record import Layer, Profile
from autotune.reports.csv_text import csv_text

__all__ = ["render"]

# Where the record's name does not say the unit.
_NAMES = {"intensity": "intensity_flops_per_byte", "modelled": "modelled_share"}
_FIELDS = (*Layer.model_fields, *Layer.model_computed_fields)


def render(profile: Profile) -> str:
    """CSV text with a header, in the order of the layers; what is absent is empty, figures are exact."""
    return csv_text([_NAMES.get(name, name) for name in _FIELDS], map(_row, profile.layers))


def _row(layer: Layer) -> dict[str, Any]:
    return {_NAMES.get(name, name): value for name, value in layer.model_dump(mode="json").items()}
