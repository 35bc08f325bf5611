"""What a recording machine's speed drifted by: what trials near in time have in common, whichever their configs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

import numpy as np

from autotune.records import Trial

__all__ = ["drift"]

# Standard deviations in seconds of the weights by which neighbours in time tell of a trial's drift; the best is chosen,
# of those no shorter than a trial: two neighbours alone fit chance.
_WIDTHS_S = (10.0, 15.0, 30.0, 60.0, 120.0, 240.0, 600.0)
# A drift must explain this share of what the configs leave unexplained: of the kept recordings with their rounds
# shuffled config by config, so that they have none, fewer than one in twenty seem to have so much.
_EXPLAINED = 0.25
# Of fitting configs and drift in turn, which settle long before.
_ROUNDS = 30


def drift(trials: Sequence[Trial], counted: Sequence[bool]) -> list[float]:
    """By how much longer each trial's steps took for the machine's drift, as ln of a ratio: 0 where it has no times.

    trials: all of a recording, in its order, each config several times. counted: those that may tell of the drift.
    ln of the time is the config's effect plus a smooth function of the time of day, fitted in turn (backfitting: Hastie
    and Tibshirani, 1990), the latter by a mean of the neighbours' residuals with Gaussian weights (Nadaraya and Watson,
    1964), each trial's own left out. The weights' width is the one that so predicts the trials best; where none
    predicts them clearly better than no drift at all, there is none.
    """
    ends_s = list(accumulate(trial.duration_s for trial in trials))
    places = [place for place, trial in enumerate(trials) if counted[place] and trial.step_ms]
    found = [0.0] * len(trials)
    if len(places) < 2:
        return found
    at_s = np.array([ends_s[place] - trials[place].duration_s / 2.0 for place in places])
    log_ms = np.log([fmean(trials[place].step_ms) for place in places])
    configs = {config: number for number, config in enumerate(dict.fromkeys(trials[each].config for each in places))}
    belongs = np.zeros((len(configs), len(places)))
    for column, place in enumerate(places):
        belongs[configs[trials[place].config], column] = 1.0
    # A config that was timed once says nothing of a drift.
    told = belongs.sum(axis=1)[belongs.argmax(axis=0)] > 1
    # What is left of times less the mean of their configs.
    rest = np.eye(len(places)) - belongs.T @ (belongs / belongs.sum(axis=1, keepdims=True))
    best, least = np.zeros(len(places)), (1.0 - _EXPLAINED) * float(np.mean((rest @ log_ms) ** 2))
    usual_s = fmean(trials[place].duration_s for place in places)
    for width_s in (each for each in _WIDTHS_S if each >= usual_s):
        weights = np.exp(-0.5 * ((at_s[:, None] - at_s[None, :]) / width_s) ** 2) * told[None, :]
        np.fill_diagonal(weights, 0.0)
        smoother = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
        wander = np.zeros(len(places))
        for _ in range(_ROUNDS):
            wander = smoother @ (rest @ (log_ms - wander) + wander)
            wander -= wander.mean()
        if (error := float(np.mean((rest @ (log_ms - wander)) ** 2))) < least:
            best, least = wander, error
    for place, value in zip(places, best, strict=True):
        found[place] = float(value)
    return found
