"""What a profile of the baseline's step says of a search: which settings to try first, and what is not worth trying."""

from __future__ import annotations

import math
from collections.abc import Iterable

from autotune.config import Knob, Precision, TrainingConfig
from autotune.extra_knobs import OptimizerKnob
from autotune.intervals import INDIFFERENCE
from autotune.profile_record import Advice, Bound, Phase, Profile

__all__ = ["could_bring", "is_hopeless", "ordered"]

# What each knob is known to move: time is counted for it in these classes alone.
_MOVES = {
    "precision": (Bound.MEMORY, Bound.COMPUTE),
    "channels_last": (Bound.MEMORY,),
    "cudnn_benchmark": (Bound.COMPUTE,),
}
_HALF = (Precision.BF16, Precision.FP16)
# The update's time varies between runs: a bound is believed only where twice of it makes no difference.
_SURELY = 2.0


def ordered(configs: Iterable[TrainingConfig], advice: Iterable[Advice]) -> list[TrainingConfig]:
    """The most promising first: memory-bound time speaks for channels_last and half precision, compute-bound time for
    precision. What advice says nothing of stays in its order: where the device waits, batches decide, not settings.
    """
    given = tuple(advice)
    return sorted(configs, key=lambda config: -sum(_promised_ms(config, each) for each in given))


def _promised_ms(config: TrainingConfig, advice: Advice) -> float:
    value = getattr(config, advice.knob, None)
    adopted = value is True if advice.value == "true" else value == advice.value
    # Advice names the faster half precision; the other promises nearly the same.
    other_half = advice.knob == "precision" and advice.value in _HALF and value in _HALF and not adopted
    saved_ms = sum(advice.saved_ms.get(bound, 0.0) for bound in _MOVES.get(advice.knob, ()))
    return saved_ms * (1.0 if adopted else 0.99 if other_half else 0.0)


def could_bring(profile: Profile, knob: Knob, step_ms: float) -> float | None:
    """The most that an extra knob could bring to a step of step_ms, as ln of a ratio; None where nothing bounds it.

    Only the update's code has a bound under any other setting: the update costs what it costs in the baseline, whatever
    the precision or the batch, and cannot cost less than nothing.
    """
    if not isinstance(knob, OptimizerKnob):
        return None
    update = [layer for layer in profile.layers if layer.phase is Phase.OPTIMIZER]
    # On a CPU the end of the update, after the step's last operator, stands in no layer.
    after_ms = max(0.0, profile.host_ms - sum(layer.host_wait_ms for layer in profile.layers))
    update_ms = _SURELY * (after_ms + sum(layer.time_ms + layer.idle_before_ms for layer in update))
    return -math.log1p(-update_ms / step_ms) if update and update_ms < step_ms else None


def is_hopeless(profile: Profile | None, knob: Knob, step_ms: float) -> str | None:
    """Why a knob need not be tried on a step of step_ms: it could bring no more than the zone of indifference."""
    most = could_bring(profile, knob, step_ms) if profile else None
    if most is None or most > INDIFFERENCE:
        return None
    share = (1.0 - math.exp(-most)) / _SURELY
    return f"{knob.asked_as}: not tried: the whole update is {share:.1%} of the fastest step, by the profile"
