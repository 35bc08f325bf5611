"""layers.csv: one row per layer and phase, every figure of it a column."""

from __future__ import annotations

from typing import Any

import pandas as pd

from autotune.profile_record import Layer, Profile

__all__ = ["render"]

# Where the record's name does not say the unit.
_NAMES = {"intensity": "intensity_flops_per_byte", "modelled": "modelled_share"}
_FIELDS = (*Layer.model_fields, *Layer.model_computed_fields)


def render(profile: Profile) -> str:
    """CSV text with a header, in the order of the layers; what is absent is empty, figures are exact."""
    return _frame(profile).to_csv(index=False, lineterminator="\n")


def _frame(profile: Profile) -> pd.DataFrame:
    columns = [_NAMES.get(name, name) for name in _FIELDS]
    # Objects, so that each figure is written as Python does: what is read back is the same number.
    return pd.DataFrame([_row(layer) for layer in profile.layers], columns=columns, dtype=object)


def _row(layer: Layer) -> dict[str, Any]:
    return {_NAMES.get(name, name): value for name, value in layer.model_dump(mode="json").items()}
