"""trials.csv: one row per trial, every knob a column."""

from __future__ import annotations

from typing import Any

import pandas as pd

from autotune.config import KNOBS
from autotune.records import RunRecord, Trial

__all__ = ["render"]

_COLUMNS = (
    "number",
    "stage",
    "block",
    *(knob.name for knob in KNOBS),
    "outcome",
    "median_images_per_second",
    "samples",
    "peak_memory_bytes",
    "predicted_peak_bytes",
    "energy_joules",
    "energy_source",
    "images_per_joule",
    "startup_s",
    "duration_s",
    "gave_up",
    "repeated",
    "detail",
)


def render(record: RunRecord) -> str:
    """CSV text with a header, in the order of the trials; what is absent is empty."""
    return _frame(record).to_csv(index=False, lineterminator="\n")


def _frame(record: RunRecord) -> pd.DataFrame:
    # Objects, so that an integer column with an absent value stays one of integers.
    return pd.DataFrame([_row(trial) for trial in record.trials], columns=list(_COLUMNS), dtype=object)


def _row(trial: Trial) -> dict[str, Any]:
    return {
        **trial.model_dump(mode="json", include=set(_COLUMNS)),
        **trial.config.model_dump(mode="json"),
        "median_images_per_second": trial.median_images_per_second,
        "samples": len(trial.step_ms),
        "energy_joules": trial.energy.joules if trial.energy else None,
        "energy_source": trial.energy.source.value if trial.energy else None,
        "images_per_joule": trial.images_per_joule,
        # A carriage return of its own would end the row: pandas quotes for the line ends that it writes.
        "detail": "\n".join(trial.detail.splitlines()),
    }
