"""The layers of a profile as a table for the page: what its chart shows under the pointer and its table in rows."""

from __future__ import annotations

from typing import Any

from autotune.profile_record import Layer, Profile
from autotune.reports.page.embedding import rounded
from autotune.reports.profile_sentences import share_of_step

__all__ = ["COLUMNS", "layer_rows"]

# What charts.js calls the cells by.
COLUMNS = (
    "layer",
    "phase",
    "module",
    "time_ms",
    "share",
    "bound",
    "compute_ratio",
    "memory_ratio",
    "flops_per_second",
    "bytes_per_second",
    "intensity",
    "kernels",
    "waves",
    "idle_before_ms",
    "arithmetic",
    "remark",
)


def layer_rows(profile: Profile) -> list[list[Any]]:
    """One row under COLUMNS per layer and phase, in the profile's order."""
    return [_row(profile, layer) for layer in profile.layers]


def _row(profile: Profile, layer: Layer) -> list[Any]:
    return [
        layer.layer,
        layer.phase,
        layer.module,
        rounded(layer.time_ms),
        rounded(share_of_step(profile, layer.time_ms)),
        layer.bound,
        rounded(layer.compute_ratio),
        rounded(layer.memory_ratio),
        rounded(layer.flops_per_second),
        rounded(layer.bytes_per_second),
        rounded(layer.intensity),
        rounded(layer.kernels),
        rounded(layer.waves),
        rounded(layer.idle_before_ms),
        layer.arithmetic,
        _remark(layer),
    ]


def _remark(layer: Layer) -> str:
    remarks = ["balanced"] * layer.balanced + ["above a ceiling"] * layer.above_ceiling
    if layer.fewer_multiplications:
        remarks.append("does with fewer multiplications than are counted")
    if layer.modelled < 0.995:
        remarks.append(f"{layer.modelled:.0%} of its time has a cost")
    return "; ".join(remarks)
