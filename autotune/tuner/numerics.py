"""The numerics guard: whether a reduced precision trains as fp32 does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median

from autotune.config import MatmulPrecision, OptimizerImplementation, Precision, TrainingConfig
from autotune.records import Outcome, Trial

__all__ = ["STEPS", "Guard", "apart", "is_reduced", "late", "objection", "reference"]

# Optimizer steps, with updates that count, on the same seeded batches.
STEPS = 6
# Of |loss / fp32's loss - 1|: the median over the steps, and the mean over the later half of them. Detectors sample
# their proposals by what they predict, so that sound runs part by chance, in single steps by much: frcnn_resnet50 in
# bf16 on an H200 by 31% in one, by 8.5% on average. What gross faults do, and where it shows: benchmarks/numerics.py.
_TOLERANCE, _TOLERANCE_LATE = 0.1, 0.25


def is_reduced(config: TrainingConfig) -> bool:
    """Whether a config computes with fewer bits than fp32 has, or with code that a compiler wrote."""
    reduced = config.precision in (Precision.TF32, Precision.BF16, Precision.FP16)
    return reduced or config.compile or config.matmul_precision in (MatmulPrecision.HIGH, MatmulPrecision.MEDIUM)


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


def objection(ours: Trial, plain: Trial) -> str | None:
    """Why a config must not be recommended, from the losses of both; None where nothing is wrong with it.

    A config whose trial failed for want of memory or time is not objected to: it is not known."""
    if ours.outcome is Outcome.NON_FINITE:
        return f"{ours.detail}"
    if ours.outcome is not Outcome.OK or plain.outcome is not Outcome.OK:
        return None
    found = apart(ours.losses, plain.losses)
    usual, later = f"the median over {len(found)} steps", "the mean over the later half of the steps"
    for of, distance, tolerance in ((usual, median(found), _TOLERANCE), (later, late(found), _TOLERANCE_LATE)):
        if not distance <= tolerance:
            return f"its losses lie {distance:.0%} from fp32's, {of}; {tolerance:.0%} are tolerated"
    return None


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
        self._reference = reference(baseline)
        self._has_failed = has_failed
        self._plain: Trial | None = None
        self._known: set[object] = {baseline.arithmetic}

    def due(self, configs: Iterable[TrainingConfig]) -> list[TrainingConfig]:
        """Those that are yet to be checked."""
        return [config for config in configs if is_reduced(config) and config.arithmetic not in self._known]

    def trainings(self, due: list[TrainingConfig]) -> list[TrainingConfig]:
        """What must train for these to be checked."""
        ours = [self._in_the_references_batches(config) for config in due]
        return [self._reference, *ours] if due and self._plain is None else ours

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

    def check(self, config: TrainingConfig, losses: Callable[[TrainingConfig], Trial]) -> str | None:
        """Why a config must not be recommended; losses: a numerics trial of a config."""
        self._known.add(config.arithmetic)
        self._plain = self._plain or losses(self._reference)
        ours = self._in_the_references_batches(config)
        trial = losses(ours)
        if trial.outcome not in (Outcome.OK, Outcome.NON_FINITE) and ours != config:
            # What has no memory in the reference's batches has it in its own.
            trial = losses(config)
        return objection(trial, self._plain)
