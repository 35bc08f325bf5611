"""How a config did in the heats, in a word: that a faster-looking one was not recommended is seen nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

from autotune.config import TrainingConfig
from autotune.records import SIDES_AT_MOST, Outcome, RunRecord, Stage, Trial

__all__ = ["heats_note"]


def heats_note(record: RunRecord, config: TrainingConfig) -> str:
    """`won the heats`, or `heats: 0.97x the winner (3 blocks)`; empty where it took part in none beside the winner, or
    they were not for speed."""
    verdict = record.recommendation.verdict if record.recommendation else None
    if verdict is None or verdict.measure != "speed":
        return ""
    trials = [each for each in record.standing if each.stage is Stage.HEATS and each.outcome is Outcome.OK]
    winners, own = (_by_block(each for each in trials if each.config == who) for who in (verdict.candidate, config))
    if config == verdict.candidate:
        return "won the heats" if own else ""
    logs = [math.log(sum(winners[block].step_ms) / sum(own[block].step_ms)) for block in winners.keys() & own.keys()]
    if not logs:
        return ""
    blocks = "1 block" if len(logs) == 1 else f"{len(logs)} blocks"
    return f"heats: {math.exp(fmean(logs)):.2f}x the winner ({blocks})"


def _by_block(trials: Iterable[Trial]) -> dict[int, Trial]:
    return {each.block // SIDES_AT_MOST: each for each in trials if each.block is not None and each.step_ms}
