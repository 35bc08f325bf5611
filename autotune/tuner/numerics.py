"""The numerics guard: whether a reduced precision trains as fp32 does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from statistics import fmean, median

from autotune.config import MatmulPrecision, OptimizerImplementation, Precision, TrainingConfig
from autotune.records import Outcome, Trial

__all__ = ["STEPS", "Finding", "Guard", "Soundness", "apart", "finding", "late", "reference"]

# Optimizer steps, with updates that count, on the same seeded batches.
STEPS = 6
# Of |loss / fp32's loss - 1|: the median over the steps, and the mean over the later half of them. Detectors sample
# their proposals by what they predict, so that sound runs part by chance, in single steps by much: frcnn_resnet50 in
# bf16 on an H200 by 31% in one, by 8.5% on average. What gross faults do, and where it shows: benchmarks/numerics.py.
_TOLERANCE, _TOLERANCE_LATE = 0.1, 0.25


def reference(config: TrainingConfig) -> TrainingConfig:
    """The config in plain fp32 that a config's losses are held against."""
    plain = {
        "precision": Precision.FP32,
        "channels_last": False,
        "optimizer_implementation": OptimizerImplementation.DEFAULT,
        "matmul_precision": MatmulPrecision.DEFAULT,
        "compile": False,
    }
    return config.model_copy(update=plain)


class Soundness(Enum):
    SOUND = auto()
    UNSOUND = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class Finding:
    """What a check found. why: what is held against a config, or what kept it from being checked."""

    soundness: Soundness
    why: str = ""


def finding(ours: Trial, plain: Trial) -> Finding:
    """What the losses of a config say beside those of plain fp32.

    Without fp32's nothing is known, nor where there was no time to wait for the config's. Whatever else ended its
    training is held against it: it is what the user would train with."""
    if plain.outcome is not Outcome.OK or ours.outcome is Outcome.TIMEOUT:
        failed = ours if plain.outcome is Outcome.OK else plain
        return Finding(Soundness.UNKNOWN, f"{failed.config.label()}: {failed.outcome}, {failed.detail}")
    if ours.outcome is Outcome.NON_FINITE:
        return Finding(Soundness.UNSOUND, ours.detail)
    if ours.outcome is not Outcome.OK:
        return Finding(Soundness.UNSOUND, f"its check against fp32 failed ({ours.outcome}, {ours.detail})")
    found = apart(ours.losses, plain.losses)
    usual, later = f"the median over {len(found)} steps", "the mean over the later half of the steps"
    for of, distance, tolerance in ((usual, median(found), _TOLERANCE), (later, late(found), _TOLERANCE_LATE)):
        if not distance <= tolerance:
            why = f"its losses lie {distance:.0%} from fp32's, {of}; {tolerance:.0%} are tolerated"
            return Finding(Soundness.UNSOUND, why)
    return Finding(Soundness.SOUND)


def apart(losses: Sequence[float], plain: Sequence[float]) -> list[float]:
    """|loss / fp32's loss - 1| of each step."""
    return [abs(loss / theirs - 1.0) if theirs else math.inf for loss, theirs in zip(losses, plain, strict=True)]


def late(distances: Sequence[float]) -> float:
    """The mean over the later half of the steps."""
    return fmean(distances[len(distances) // 2 :])


class Guard:
    """Which arithmetic was held against fp32's, and which there was no time for. The baseline's needs no check.

    has_failed: whether a config's trial did not end well."""

    def __init__(self, baseline: TrainingConfig, has_failed: Callable[[TrainingConfig], bool]) -> None:
        self.unchecked: list[TrainingConfig] = []  # what would have had to train
        self._references = _in_smaller_batches(reference(baseline))
        self._has_failed = has_failed
        self._plain: Trial | None = None
        self._known: set[object] = {baseline.arithmetic}

    def due(self, configs: Iterable[TrainingConfig]) -> list[TrainingConfig]:
        """Those that are yet to be checked."""
        return [config for config in configs if config.is_reduced and config.arithmetic not in self._known]

    def trainings(self, due: list[TrainingConfig]) -> list[TrainingConfig]:
        """What must train for these to be checked; nothing where fp32 does not train."""
        if self._plain is not None and self._plain.outcome is not Outcome.OK:
            return []
        ours = [self._in_the_references_batches(config) for config in due]
        return [self._reference, *ours] if due and self._plain is None else ours

    @property
    def _reference(self) -> TrainingConfig:
        """In the largest micro-batches in which it is not known to fail; in the smallest where it fails in all."""
        return next((each for each in self._references if not self._has_failed(each)), self._references[-1])

    def _in_the_references_batches(self, config: TrainingConfig) -> TrainingConfig:
        """Other micro-batches draw other proposals, and live batch norm sees other images. What is compiled is compiled
        for its own batch, and what failed at the reference's is tried at its own."""
        plain = self._reference
        like = {"batch_size": plain.batch_size, "accumulation_steps": plain.accumulation_steps}
        ours = config.model_copy(update=like)
        return config if config.compile or self._has_failed(ours) else ours

    def leave_unchecked(self, config: TrainingConfig) -> None:
        self.unchecked += self.trainings([config])
        self._known.add(config.arithmetic)

    def check(self, config: TrainingConfig, losses: Callable[[TrainingConfig], Trial]) -> Finding | None:
        """What a check finds; None where fp32 had no memory: the config is still due, beside fp32 in smaller
        micro-batches. losses: a numerics trial of a config."""
        if self._plain is None:
            plain, smallest = self._reference, self._references[-1]
            trial = losses(plain)
            if trial.outcome is Outcome.OUT_OF_MEMORY and plain != smallest:
                self._references.remove(plain)
                return None
            self._plain = trial
        self._known.add(config.arithmetic)
        if self._plain.outcome is not Outcome.OK:
            return finding(self._plain, self._plain)
        ours = self._in_the_references_batches(config)
        trial = losses(ours)
        if trial.outcome not in (Outcome.OK, Outcome.NON_FINITE, Outcome.TIMEOUT) and ours != config:
            # What has no memory in the reference's batches has it in its own.
            trial = losses(config)
        return finding(trial, self._plain)


def _in_smaller_batches(config: TrainingConfig) -> list[TrainingConfig]:
    """The config, then with micro-batches of at most half the size each: fp32 takes up to twice what 16 bits do."""
    effective_batch, size = config.batch_size * config.accumulation_steps, config.batch_size
    configs = [config]
    while size > 1:
        size = next(each for each in range(size // 2, 0, -1) if effective_batch % each == 0)
        configs.append(config.at_batch_size(size, effective_batch))
    return configs
