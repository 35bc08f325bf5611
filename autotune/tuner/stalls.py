"""Which combinations of settings stall: on each image size that is new to a process, or in a step that does not end."""

from __future__ import annotations

from autotune.config import TrainingConfig
from autotune.records import Outcome, Trial
from autotune.tuner.cell import Cell

__all__ = ["Stalls"]

# What every combination that it was tried in stalls with, of so many precisions at least, is not tried in others.
_ENOUGH = 2
# What cuDNN does for one precision alone, as in fp16 for a MobileNet on an H200, it need not do in another.
_SETTINGS = ("channels_last", "cudnn_benchmark")


class Stalls:
    """What was tried of the combinations of settings, at whatever batch, and what was not for stalls."""

    def __init__(self, baseline: TrainingConfig) -> None:
        self._baseline = baseline
        self._tried: dict[TrainingConfig, bool] = {}  # whether it stalled
        self._barred: dict[str, int] = {}

    def take(self, settings: TrainingConfig, trial: Trial) -> None:
        stalled = trial.has_stalled or trial.outcome is Outcome.TIMEOUT
        if stalled or trial.outcome is Outcome.OK:
            # What ended well in one batch does not stall.
            self._tried[settings] = stalled and self._tried.get(settings, True)

    def to_blame(self, settings: TrainingConfig) -> TrainingConfig:
        """The combination that its gain is told of. Stalls with the layout or cudnn.benchmark are theirs, in any
        precision: what is told of the precision as well would keep it from being tried without them."""
        others = settings.model_copy(update={"precision": self._baseline.precision})
        stalled = self._tried.get(settings, False) and any(getattr(settings, name) for name in _SETTINGS)
        return others if stalled and others not in self._tried else settings

    def bars(self, settings: TrainingConfig) -> bool:
        """Whether a combination is not worth a trial: all that was tried with one of its settings stalled, and one of
        those does not stall without it. What is barred is counted, for notes()."""
        name = next(
            (each for each in _SETTINGS if getattr(settings, each) and self._always_stall(each, settings)), None
        )
        if name is not None:
            self._barred[name] = self._barred.get(name, 0) + 1
        return name is not None

    def _always_stall(self, name: str, settings: TrainingConfig) -> bool:
        """Told by several precisions, one of which is as wide as the one that is asked for."""
        own = [each for each in self._tried if getattr(each, name)]
        without = [each.model_copy(update={name: False}) for each in own]
        is_to_blame = any(self._tried.get(each) is False for each in without)
        as_wide = any(Cell(each).is_half == Cell(settings).is_half for each in own)
        enough = len({each.precision for each in own}) >= _ENOUGH and as_wide
        return enough and is_to_blame and all(self._tried[each] for each in own)

    def notes(self) -> list[str]:
        """What was left out, for what."""
        reason = "since all that was tried with it stalled"
        return [
            f"{name}: left out in {count} more combination{'s' * (count > 1)}, {reason}"
            for name, count in self._barred.items()
        ]
