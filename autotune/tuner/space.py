"""The space of training configs: every knob's candidates on a device, accumulation following from the batch size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from autotune.config import EXTRA_KNOBS, KNOBS, SETTINGS, Circumstances, Knob, TrainingConfig, restricted_values
from autotune.errors import UsageError
from autotune.profile_record import Profile
from autotune.tuner.promise import ordered

__all__ = ["Space"]


class Space:
    """What a search may try.

    baseline: the user's own config; None for PyTorch's defaults. settings_fixed: try no other settings and no other
    batch size than the baseline's, which makes the run an A/A comparison. knobs: the words of the extra knobs to try.
    only: the settings of which some values alone are tried beside the baseline, as asked_settings() gives them.

    Raises UsageError where the device cannot take such a value.
    """

    def __init__(
        self,
        where: Circumstances,
        baseline: TrainingConfig | None = None,
        *,
        settings_fixed: bool = False,
        knobs: Sequence[str] = (),
        only: Sequence[str] = (),
    ) -> None:
        # In the order in which they are declared: compiling, which takes longest, comes last.
        self.extra_knobs = tuple(knob for word, knob in EXTRA_KNOBS.items() if word in knobs)
        self.where = where
        self.baseline = baseline.for_device(where) if baseline else TrainingConfig.baseline(where)
        self.settings_fixed = settings_fixed
        self._only = restricted_values(only)
        self._values = {knob.name: self._values_of(knob) for knob in SETTINGS}
        self.profile: Profile | None = None
        self._sizes_vary = False

    def take(self, profile: Profile | None, *, sizes_vary: bool = False) -> None:
        """Let the profile of the baseline's step say what is tried first, and what need not be tried. Where image sizes
        vary, it says nothing for cudnn.benchmark, which tries all algorithms anew for each."""
        self.profile = profile
        self._sizes_vary = sizes_vary

    def baselines(self) -> Iterator[TrainingConfig]:
        """The baseline, then the same with ever smaller divisors of the effective batch, for where it does not fit."""
        for config in self.ladder(self.baseline):
            if config.batch_size <= self.baseline.batch_size:
                yield config

    def settings(self, baseline: TrainingConfig) -> Iterator[TrainingConfig]:
        """Every combination of settings at the baseline's batch size but the baseline, the most promising first."""
        if not self.settings_fixed:
            given = self.profile.advice if self.profile else ()
            advice = [each for each in given if not (self._sizes_vary and each.knob == "cudnn_benchmark")]
            configs = ordered(self._combinations(baseline), advice)
            if self._sizes_vary:
                # Last, and where it is used with channels_last last of all: that can take ten seconds for each size.
                configs.sort(
                    key=lambda config: (config.cudnn_benchmark, config.cudnn_benchmark and config.channels_last)
                )
            yield from configs

    def allows(self, config: TrainingConfig) -> bool:
        """Whether its settings are among those that are tried: the baseline's need not be."""
        return all(getattr(config, name) in values for name, values in self._only.items())

    def values(self, knob: Knob) -> tuple[Any, ...]:
        """The values of a setting or of an extra knob that are tried; None alone for one without a meaning here."""
        if knob.name in self._values:
            return self._values[knob.name]
        return (*knob.candidates(self.where), knob.baseline(self.where))

    def is_last(self, config: TrainingConfig) -> bool:
        """Whether a combination of settings is tried when all others have been, and at all their batch sizes: with
        cudnn.benchmark each new image size can cost 20 s (frcnn_resnet50 on an H200)."""
        return self._sizes_vary and bool(config.cudnn_benchmark)

    def _combinations(self, baseline: TrainingConfig) -> Iterator[TrainingConfig]:
        for combination in product(*self._values.values()):
            config = baseline.model_copy(update=dict(zip(self._values, combination, strict=True)))
            if config != baseline:
                yield config

    def _values_of(self, setting: Knob) -> tuple[Any, ...]:
        candidates = setting.candidates(self.where)
        if setting.name not in self._only:
            return candidates or (None,)
        wanted = self._only[setting.name]
        for value in wanted:
            if not candidates or not setting.allows(value, self.where):
                text = f"{setting.name}={str(value).lower()}"
                raise UsageError(f"only {text}: cannot be used on this {self.where.device_type}; leave it out")
        return (*(each for each in candidates if each in wanted), *(each for each in wanted if each not in candidates))

    def with_knob(self, config: TrainingConfig, knob: Knob) -> Iterator[TrainingConfig]:
        """The config with each other value of a knob that is tried and changes anything."""
        for value in self.values(knob):
            if value != getattr(config, knob.name) and not knob.idle_beside(value, config):
                yield config.model_copy(update={knob.name: value})

    def configs(self) -> list[TrainingConfig]:
        """Every config there is: all settings, and the baseline's whether they are tried or not, at every divisor of
        the effective batch, with every value of the extra knobs that were asked for."""
        cells = [self.baseline, *self.settings(self.baseline)]
        configs = [config for cell in cells for config in self.ladder(cell)]
        for knob in self.extra_knobs:
            configs += [other for config in configs for other in self.with_knob(config, knob)]
        return configs

    def left_out(self) -> tuple[str, ...]:
        """Why knobs, or some of their values, are not tried here."""
        tried = [knob for knob in KNOBS if not knob.asked_as or knob in self.extra_knobs]
        return tuple(reason for knob in tried if (reason := self._why_left_out(knob)))

    def _why_left_out(self, knob: Knob) -> str | None:
        if knob.name in self._only:
            values = ", ".join(str(value).lower() for value in self._only[knob.name])
            return f"{knob.name}: nothing but {values} is tried beside the baseline, as you asked"
        return knob.why_left_out(self.where)

    def ladder(self, config: TrainingConfig) -> Iterator[TrainingConfig]:
        """The same settings at every divisor of the effective batch, the largest first."""
        sizes = next(knob for knob in KNOBS if knob.name == "batch_size").candidates(self.where)
        for size in sizes:
            yield config.at_batch_size(size, self.where.effective_batch)
