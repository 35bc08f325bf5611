"""How many times faster one run trains than another, with its interval where the runs hold what tells it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from autotune.config import TrainingConfig
from autotune.intervals import interval, interval_of_two
from autotune.profile_record import Profile
from autotune.records import Outcome, RunRecord, Stage, Trial

__all__ = ["Ratio", "config_of", "images_per_second", "is_profile", "over_blocks", "ratio_of"]

# With fewer blocks an interval says nothing.
_MIN_BLOCKS = 3
_FEW = "no interval, for want of three blocks each: it may be chance"
_FEW_ROUNDS = "no interval, for want of three rounds of unprofiled steps each: it may be chance"
_PROFILED_ALONE = "no interval: of one there are profiled steps alone, which the profiler slows down"
_UNLIKE_STEPS = "no interval: one is a profile and the other a search, which time other images"


@dataclass(frozen=True)
class Ratio:
    """ratio: times as many images/s. low, high: its 95% interval; None where it cannot be said, why_not: the reason.

    blocks: on each side, those of a race or the rounds of a profile. paired: both trained on the same images.
    """

    ratio: float
    low: float | None = None
    high: float | None = None
    blocks: int = 0
    paired: bool = False
    why_not: str = ""


def config_of(record: RunRecord) -> TrainingConfig | None:
    """The recommended config, else the profiled one."""
    if record.recommendation:
        return record.recommendation.config
    return record.profile.config if record.profile and not record.is_search else None


def is_profile(record: RunRecord) -> bool:
    """Whether a profile's steps are all that the record times."""
    return record.profile is not None and not record.is_search


def images_per_second(record: RunRecord) -> float | None:
    """Over the blocks of the race, of the search where there was none; of a profile from its step. None where nothing
    is."""
    config, trials = config_of(record), _trials(record)
    if trials:
        return over_blocks(trials)
    if config and record.profile and is_profile(record):
        return 1000.0 * config.images_per_step / record.profile.step_ms
    return None


def over_blocks(trials: Sequence[Trial]) -> float:
    """Images/s of a config in all its blocks: their geometric mean, so that the quotient of two figures of the same
    blocks is the ratio that a verdict or a comparison gives."""
    return 1000.0 * math.exp(fmean(_log_speeds(trials[0].config, _block_ms(trials).values())))


def ratio_of(first: RunRecord, other: RunRecord, *, same_work: bool) -> Ratio | None:
    """other against first; None where either has nothing timed. same_work: both replay the same images."""
    speeds = images_per_second(first), images_per_second(other)
    if speeds[0] is None or speeds[1] is None:
        return None
    ratio = speeds[1] / speeds[0]
    if is_profile(first) and is_profile(other):
        assert first.profile is not None
        assert other.profile is not None
        return _of_profiles(first.profile, other.profile, ratio, same_work=same_work)
    if is_profile(first) or is_profile(other):
        return Ratio(ratio, why_not=_UNLIKE_STEPS)
    theirs, ours = _block_ms(_trials(first)), _block_ms(_trials(other))
    common = theirs.keys() & ours.keys() if same_work else set()
    if len(common) >= _MIN_BLOCKS:
        found = interval([math.log(theirs[steps] / ours[steps]) for steps in sorted(common)])
        return Ratio(*found, blocks=len(common), paired=True)
    blocks = min(len(theirs), len(ours))
    if blocks < _MIN_BLOCKS:
        return Ratio(ratio, why_not=_FEW)
    sides = _log_speeds(config_of(other), ours.values()), _log_speeds(config_of(first), theirs.values())
    return Ratio(*interval_of_two(*sides), blocks=blocks)


def _of_profiles(first: Profile, other: Profile, ratio: float, *, same_work: bool) -> Ratio:
    """Welch's interval over the rounds, of the images that both timed where these are the same."""
    if not (first.step_samples_ms and other.step_samples_ms):
        return Ratio(ratio, why_not=_PROFILED_ALONE)
    counts = len(first.profiled_step_ms), len(other.profiled_step_ms)
    theirs, ours = (
        _rounds_ms(profile, min(counts) if same_work else count)
        for profile, count in zip((first, other), counts, strict=True)
    )
    blocks = min(len(theirs), len(ours))
    if blocks < _MIN_BLOCKS:
        return Ratio(ratio, why_not=_FEW_ROUNDS)
    return Ratio(*interval_of_two(_log_speeds(other.config, ours), _log_speeds(first.config, theirs)), blocks=blocks)


def _rounds_ms(profile: Profile, images: int) -> list[float]:
    """Mean time of each whole round's first steps: a round holds a step on each batch that was profiled."""
    count = len(profile.profiled_step_ms)
    whole = len(profile.step_samples_ms) // count
    starts = range(0, whole * count, count)
    return [fmean(profile.step_samples_ms[start : start + images]) for start in starts]


def _trials(record: RunRecord) -> list[Trial]:
    """The timed trials of the run's config: those of the race, or of the search where it was not raced."""
    config = config_of(record)
    timed = [t for t in record.standing if t.config == config and t.outcome is Outcome.OK and t.step_ms]
    return [trial for trial in timed if trial.stage is Stage.RACE] or timed


def _block_ms(trials: Iterable[Trial]) -> dict[tuple[int, ...], float]:
    """Mean time of each block's steps, by which steps they were: the same numbers are the same images in every run of
    the same work."""
    times: dict[tuple[int, ...], list[float]] = {}
    for trial in trials:
        times.setdefault(trial.steps, []).append(fmean(trial.step_ms))
    return {steps: fmean(values) for steps, values in times.items()}


def _log_speeds(config: TrainingConfig | None, blocks_ms: Iterable[float]) -> list[float]:
    assert config is not None
    return [math.log(config.images_per_step / ms) for ms in blocks_ms]
