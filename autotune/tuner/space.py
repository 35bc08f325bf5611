"""The space of training configs: every knob's candidates on a device, accumulation following from the batch size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from autotune.config import KNOBS, Circumstances, TrainingConfig

__all__ = ["Space"]

_BATCH = ("batch_size", "accumulation_steps")


class Space:
    """What a search may try.

    baseline: the user's own config; None for PyTorch's defaults. settings_fixed: try no other settings and no other
    batch size than the baseline's, which makes the run an A/A comparison.
    """

    def __init__(
        self, where: Circumstances, baseline: TrainingConfig | None = None, *, settings_fixed: bool = False
    ) -> None:
        self.where = where
        self.baseline = baseline.for_device(where) if baseline else TrainingConfig.baseline(where)
        self.settings_fixed = settings_fixed

    def baselines(self) -> Iterator[TrainingConfig]:
        """The baseline, then the same with ever smaller divisors of the effective batch, for where it does not fit."""
        for config in self.ladder(self.baseline):
            if config.batch_size <= self.baseline.batch_size:
                yield config

    def settings(self, baseline: TrainingConfig) -> Iterator[TrainingConfig]:
        """Every combination of settings at the baseline's batch size but the baseline, the most promising first."""
        if self.settings_fixed:
            return
        knobs = [knob for knob in KNOBS if knob.name not in _BATCH]
        values = [knob.candidates(self.where) or (None,) for knob in knobs]
        for combination in product(*values):
            config = baseline.model_copy(update=dict(zip((knob.name for knob in knobs), combination, strict=True)))
            if config != baseline:
                yield config

    def configs(self) -> list[TrainingConfig]:
        """Every config there is: all settings at every divisor of the effective batch."""
        cells = [self.baseline, *self.settings(self.baseline)]
        return [config for cell in cells for config in self.ladder(cell)]

    def left_out(self) -> tuple[str, ...]:
        """Why knobs, or some of their values, are not tried here."""
        return tuple(reason for knob in KNOBS if (reason := knob.why_left_out(self.where)))

    def ladder(self, config: TrainingConfig) -> Iterator[TrainingConfig]:
        """The same settings at every divisor of the effective batch, the largest first."""
        sizes = next(knob for knob in KNOBS if knob.name == "batch_size").candidates(self.where)
        for size in sizes:
            yield config.at_batch_size(size, self.where.effective_batch)
