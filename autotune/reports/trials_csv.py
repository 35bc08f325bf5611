"""trials.csv: one row per trial, every knob a column."""

from __future__ import annotations

from typing import Any

from autotune.config import KNOBS
from autotune.records import RunRecord, Trial
from autotune.reports.csv_text import csv_text

__all__ = ["render"]

_BEFORE = ("number", "stage", "block")
_AFTER = (
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
    # A knob that --knobs alone tries is a column where a trial has used it.
    used = [knob for knob in KNOBS if not knob.asked_as or any(trial.config.uses(knob) for trial in record.trials)]
    return csv_text([*_BEFORE, *(knob.name for knob in used), *_AFTER], map(_row, record.trials))


def _row(trial: Trial) -> dict[str, Any]:
    return {
        **trial.model_dump(mode="json", include={*_BEFORE, *_AFTER}),
        **trial.config.model_dump(mode="json"),
        "median_images_per_second": trial.median_images_per_second,
        "samples": len(trial.step_ms),
        "energy_joules": trial.energy.joules if trial.energy else None,
        "energy_source": trial.energy.source.value if trial.energy else None,
        "images_per_joule": trial.images_per_joule,
        # A carriage return of its own would end the row: csv quotes for the line ends that it writes.
        "detail": "\n".join(trial.detail.splitlines()),
    }
