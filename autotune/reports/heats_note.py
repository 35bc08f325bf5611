"""How a config did in the heats, in a word: that a faster-looking one was not recommended is seen nowhere else."""

from __future__ import annotations

import math
from statistics import fmean

from autotune.config import TrainingConfig
from autotune.records import SIDES_AT_MOST, Outcome, RunRecord, Stage, Trial

__all__ = ["heats_by_block", "heats_note"]


def heats_note(record: RunRecord, config: TrainingConfig) -> str:
    """`won the heats`, or `heats: 0.97x the winner (3 blocks)`; empty where it took part in none beside the winner, or
    they were not for speed."""
    verdict = record.recommendation.verdict if record.recommendation else None
    if verdict is None or verdict.measure != "speed":
        return ""
    blocks = [sides for sides in heats_by_block(record) if {config, verdict.candidate} <= sides.keys()]
    if config == verdict.candidate:
        return "won the heats" if blocks else ""
    logs = [math.log(sum(sides[verdict.candidate].step_ms) / sum(sides[config].step_ms)) for sides in blocks]
    if not logs:
        return ""
    how_many = "1 block" if len(logs) == 1 else f"{len(logs)} blocks"
    return f"heats: {math.exp(fmean(logs)):.2f}x the winner ({how_many})"


def heats_by_block(record: RunRecord) -> list[dict[TrainingConfig, Trial]]:
    """The blocks of the heats in their order, each with the sides that gave a time."""
    blocks: dict[int, dict[TrainingConfig, Trial]] = {}
    for trial in record.standing:
        if trial.stage is Stage.HEATS and trial.block is not None and trial.outcome is Outcome.OK and trial.step_ms:
            blocks.setdefault(trial.block // SIDES_AT_MOST, {})[trial.config] = trial
    return [blocks[number] for number in sorted(blocks)]
