"""How well the peak memory was predicted, in words."""

from __future__ import annotations

from autotune.records import Outcome, RunRecord, Trial
from autotune.reports.si import GIB, gib

__all__ = ["memory_fit"]


def memory_fit(record: RunRecord) -> str | None:
    """The predictions' errors over all settings and the recommended one's; None where nothing was predicted."""
    predicted = [trial for trial in record.trials if trial.predicted_peak_bytes is not None and not trial.repeated]
    if not predicted:
        return None
    errors = {trial.number: error for trial in predicted if (error := trial.peak_prediction_error) is not None}
    unfit = sum(trial.outcome in (Outcome.OUT_OF_MEMORY, Outcome.THRASH) for trial in predicted)
    sentence = f"peaks predicted from smaller batches for {len(predicted)} trials, then verified"
    if errors:
        sentence += f": off by {min(errors.values()):+.1%} to {max(errors.values()):+.1%}"
    if unfit:
        sentence += f"; {unfit} did not fit though predicted to"
    recommended = record.recommendation.config if record.recommendation else None
    own = next((trial for trial in predicted if trial.config == recommended and trial.number in errors), None)
    return f"{sentence}; {_pair(own)}" if own else sentence


def _pair(trial: Trial) -> str:
    predicted, measured = (gib((each or 0) / GIB) for each in (trial.predicted_peak_bytes, trial.peak_memory_bytes))
    return f"{trial.config.label()}: {predicted} GiB predicted, {measured} measured"
