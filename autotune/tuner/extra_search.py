"""The knobs beyond the settings: tried on what leads once the settings are known, each against leaving it alone.

In all combinations with the settings they would multiply the search. They hardly change which settings are best, and
cost much, compiling most of all, so that they are tried where it matters: on the fastest config of the leading cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from autotune.config import Knob, TrainingConfig
from autotune.intervals import INDIFFERENCE
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.space import Space
from autotune.tuner.standings import Standings

__all__ = ["CELLS_AT_MOST", "CELLS_WITHIN", "carried_over", "try_extra_knobs"]

# On the leading cell and its nearest rival within this, as ln of a ratio: what a knob brings differs from cell to cell
# (the fused optimizer 5% to retinanet_resnet50 on a CPU, and nothing to it in channels_last).
CELLS_AT_MOST, CELLS_WITHIN = 2, 0.1
# What helped is tried on what would then be no farther behind the leader than this, as ln of a ratio, or than so many
# standard errors of a trial, and on no more than so many at a time.
_MAY_LEAD, _MAY_LEAD_ERRORS = 0.02, 2.0
_CARRIED_OVER = 4


def try_extra_knobs(
    space: Space,
    leaders: Iterable[TrainingConfig],
    measure: Callable[[TrainingConfig], Trial | None],
    gain: Callable[[Trial], float],
    is_hopeless: Callable[[Knob, TrainingConfig], bool] = lambda knob, leader: False,
) -> None:
    """Measure each leader with every asked value of every asked knob, and with the best value of each together.

    measure: None where the budget has no room left. gain: ln of a trial's speed, -inf for one that is of no use.
    is_hopeless: a knob that could bring nothing to a leader is not tried on it.
    A batch that fits no more with a knob gives way to the next smaller one.
    """

    def tried(config: TrainingConfig) -> float:
        trial = measure(config)
        if trial is not None and trial.outcome in (Outcome.OUT_OF_MEMORY, Outcome.THRASH):
            smaller = next((each for each in space.ladder(config) if each.batch_size < config.batch_size), None)
            trial = measure(smaller) if smaller else None
        return gain(trial) if trial is not None else -math.inf

    for leader in leaders:
        today = tried(leader)
        best = leader
        helpful = 0
        for knob in [each for each in space.extra_knobs if not is_hopeless(each, leader)]:
            gains = {config: tried(config) for config in space.with_knob(leader, knob)}
            if gains and max(gains.values()) > today:
                value = getattr(max(gains, key=gains.__getitem__), knob.name)
                best, helpful = best.model_copy(update={knob.name: value}), helpful + 1
        if helpful > 1:
            tried(best)


def carried_over(space: Space, standings: Standings) -> dict[TrainingConfig, TrainingConfig]:
    """The configs without extra knobs that are close to the fastest of those, each with the values that helped others:
    batch sizes lie close, so that what leads may have changed since the knobs were tried. Only what may lead by that.
    What compiles costs too much for it."""
    knobs = [knob for knob in space.extra_knobs if knob.name != "compile"]
    values, brought = _helpful_values(standings, [knob.name for knob in knobs])
    usable = [trial for trial in standings.usable() if space.allows(trial.config)]
    plain = [trial for trial in usable if trial.stage is not Stage.KNOBS] if values else []
    reach = standings.lead - max(_MAY_LEAD, _MAY_LEAD_ERRORS * standings.trial_error)
    promising = [trial.config for trial in standings.near(plain) if standings.gain(trial) + brought > reach]
    return {
        config: config.model_copy(
            update={knob.name: values[knob.name] for knob in knobs if not knob.idle_beside(values[knob.name], config)}
        )
        for config in promising[:_CARRIED_OVER]
    }


def _helpful_values(standings: Standings, names: Sequence[str]) -> tuple[dict[str, Any], float]:
    """The values of some extra knobs that brought most beside the same config with the baseline's; empty where none
    brought more than the zone of indifference. What is compiled says nothing of the others."""
    usual = {name: getattr(standings.baseline.config, name) for name in names}
    best, brought = usual, INDIFFERENCE
    usable = {trial.config: trial for trial in standings.usable() if not trial.config.compile}
    for config, trial in usable.items():
        without = usable.get(config.model_copy(update=usual))
        if without is not None and (gain := standings.gain(trial) - standings.gain(without)) > brought:
            best, brought = {name: getattr(config, name) for name in names}, gain
    return ({}, 0.0) if best == usual else (best, brought)
