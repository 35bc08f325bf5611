"""What weakens a verdict: read from the trials' states and samples, one sentence each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from statistics import fmean, median, quantiles

from autotune.config import TrainingConfig
from autotune.records import Outcome, RaceEnd, RunRecord, Stage, Status, Trial, Verdict, VerdictKind
from autotune.reports.drift import warning

__all__ = ["caveats", "company", "is_unsettled"]

# Cores that other processes kept busy: below this it is the system's own housekeeping.
_BUSY_CORES = 0.25
# With fewer blocks the interval rests on its own estimate of the noise more than on the data.
_FEW_BLOCKS = 5
_WIDE_INTERVAL = 0.1
# What pays for itself by the so manieth step on an image size is not worth a word.
_STEPS_TO_PAY = 4
# Nor is what a step on a new size takes longer by less than this share of a step: steps differ by as much.
_NEW_SIZE_SHARE = 0.1
# Halves of a trial need this many samples between them before a difference means anything.
_SAMPLES_TO_SETTLE = 8


def caveats(record: RunRecord) -> list[str]:
    """Sentences on what weakens the verdict; empty where nothing does."""
    return [
        *_ending(record),
        *_race(record),
        *_unchecked(record),
        *filter(None, [warning(record)]),
        *company(record),
        *_repeated(record),
        *_affected(record, "step times had not settled", lambda trial: [trial.config.label()] * is_unsettled(trial)),
        *_affected(record, "part of the device's state could not be read", lambda trial: trial.state.missing),
        *_shaky(record),
        *_new_sizes(record),
    ]


def company(record: RunRecord) -> list[str]:
    """What shared or held back the machine while record's run measured."""
    return [
        *_affected(record, "the device was throttled", lambda trial: trial.state.throttled),
        *_gpu_company(record),
        *_cpu_company(record),
    ]


def is_unsettled(trial: Trial) -> bool:
    """True where the second half of the steps is faster or slower than the first by more than their own spread.

    The spread is three quarters of the 10th to 90th percentile range: random steps pass, a shift does not.
    """
    samples = trial.step_ms
    if len(samples) < _SAMPLES_TO_SETTLE:
        return False
    middle = len(samples) // 2
    shift = abs(median(samples[:middle]) - median(samples[middle:]))
    deciles = quantiles(samples, n=10, method="inclusive")
    return shift > max(0.75 * (deciles[-1] - deciles[0]), 0.03 * median(samples))


def _ending(record: RunRecord) -> list[str]:
    if record.recommendation is None or record.status is Status.FINISHED:
        return []
    return [f"The run was {record.status} before its end{f': {record.error}' if record.error else ''}."]


def _race(record: RunRecord) -> list[str]:
    verdict = record.recommendation.verdict if record.recommendation else None
    if verdict is None or verdict.ratio is None or verdict.low is None or verdict.high is None:
        return []
    notes = []
    if len(verdict.log_ratios) < _FEW_BLOCKS and verdict.race_end is not RaceEnd.CLEAR:
        notes.append(
            f"The race had {len(verdict.log_ratios)} blocks only, which makes its interval wide; "
            "a larger --budget pays for more."
        )
    if any(
        trial.stage is Stage.RACE and trial.outcome is Outcome.OK and not trial.warmup_ms for trial in record.trials
    ):
        notes.append(
            "Each side of the race ran in one process, for want of budget: how processes differ is not in the interval."
        )
    width = (verdict.high - verdict.low) / verdict.ratio
    if width > _WIDE_INTERVAL:
        notes.append(f"The interval spans {width:.0%} of the ratio{_narrowed(verdict)}.")
    return notes


def _unchecked(record: RunRecord) -> list[str]:
    """Of a recommended arithmetic that is neither the baseline's nor fp32's."""
    config = record.recommendation.config if record.recommendation else None
    if config is None or record.baseline is None or not config.is_reduced:
        return []
    checked = {trial.config.arithmetic for trial in record.trials if trial.stage is Stage.NUMERICS and trial.losses}
    if config.arithmetic in checked | {record.baseline.arithmetic}:
        return []
    return [f"The losses of {config.settings_label()} were not checked against fp32's."]


def _narrowed(verdict: Verdict) -> str:
    """What would narrow the interval."""
    match verdict.race_end:
        case RaceEnd.BUDGET:
            return ": a larger --budget or a quieter machine narrows it"
        case RaceEnd.CLEAR:
            return ", and was clear enough to end the race: only a quieter machine narrows it"
        case RaceEnd.LENGTH:
            return f" after {len(verdict.log_ratios)} blocks, the most of a race: only a quieter machine narrows it"
        case None:
            return ": a quieter machine narrows it"


def _affected(record: RunRecord, what: str, words: Callable[[Trial], Sequence[str]]) -> list[str]:
    """`In 3 of 24 trials, 2 of them in the race, the device was throttled: power brake.`"""
    found = [trial for trial in record.trials if words(trial)]
    kinds = dict.fromkeys(word for trial in found for word in words(trial))
    return [f"In {_count(record, found)} {what}: {', '.join(kinds)}."] if found else []


def _gpu_company(record: RunRecord) -> list[str]:
    found = [trial for trial in record.trials if trial.state.other_gpu_processes]
    most = max((trial.state.other_gpu_processes or 0 for trial in found), default=0)
    return [f"In {_count(record, found)} other processes used the GPU: up to {most} at a time."] if found else []


def _repeated(record: RunRecord) -> list[str]:
    """How many disturbed trials were measured again, and whether that helped."""
    repeats = [trial for trial in record.trials if trial.repeated]
    if not repeats:
        return []
    better = len([trial for trial in record.standing if trial.repeated])
    disturbed = "1 disturbed trial was" if len(repeats) == 1 else f"{len(repeats)} disturbed trials were"
    return [f"{disturbed} measured again, {better} of them less disturbed: those stand in for the first ones."]


def _cpu_company(record: RunRecord) -> list[str]:
    found = [trial for trial in record.trials if (trial.state.cpu_load_by_others or 0.0) >= _BUSY_CORES]
    most = max((trial.state.cpu_load_by_others or 0.0 for trial in found), default=0.0)
    return [f"In {_count(record, found)} other processes kept the CPU busy: up to {most:.1f} cores."] if found else []


def _count(record: RunRecord, found: Sequence[Trial]) -> str:
    in_race = sum(trial.stage.is_race for trial in found)
    return f"{len(found)} of {_trials(len(record.trials))}" + (f", {in_race} of them in the race," if in_race else "")


def _trials(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"


def _shaky(record: RunRecord) -> list[str]:
    """The recommended config, where one of its own trials failed."""
    if record.recommendation is None:
        return []
    config = record.recommendation.config
    ours = [trial for trial in record.trials if trial.config == config]
    failed = [trial for trial in ours if trial.outcome is not Outcome.OK]
    return [f"{config.label()} itself failed in {len(failed)} of {_trials(len(ours))}: {_tally(failed)}."] * bool(
        failed
    )


def _tally(trials: Sequence[Trial]) -> str:
    outcomes = sorted(trial.outcome for trial in trials)
    return ", ".join(f"{len(list(group))} {outcome}" for outcome, group in groupby(outcomes))


def _new_sizes(record: RunRecord) -> list[str]:
    """What the recommended config loses on batches of image sizes that a process meets for the first time. What is not
    surely faster pays for nothing, and where the detector makes one size of all images none is new."""
    found = record.recommendation
    if found is None or found.config == record.baseline or found.verdict.kind is not VerdictKind.FASTER:
        return []
    if record.workload is not None and record.workload.input_sizes == 1:
        return []
    ours = _mean(record, found.config, lambda trial: trial.new_batch_ms)
    theirs = _mean(record, record.baseline, lambda trial: trial.new_batch_ms)
    our_step = _mean(record, found.config, lambda trial: fmean(trial.step_ms))
    their_step = _mean(record, record.baseline, lambda trial: fmean(trial.step_ms))
    if ours is None or theirs is None or our_step is None or their_step is None or our_step >= their_step:
        return []
    steps = math.ceil((ours - theirs) / (their_step - our_step))
    if steps < _STEPS_TO_PAY or ours - theirs < _NEW_SIZE_SHARE * our_step:
        return []
    slower = f"{ours:.0f} ms longer than the next ones, {max(0.0, theirs):.0f} ms with your baseline"
    met = "The verdict is of image sizes that were met before: the first step on one takes"
    return [f"{met} {slower}, which pays once it has come {steps} times."]


def _mean(record: RunRecord, config: TrainingConfig | None, value: Callable[[Trial], float | None]) -> float | None:
    values = [value(trial) for trial in record.standing if trial.config == config and trial.step_ms]
    known = [each for each in values if each is not None]
    return fmean(known) if known else None
