"""Runs beside each other: their figures, what changed between them, and whether the difference in speed is real."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median

from autotune.config import TrainingConfig
from autotune.intervals import INDIFFERENCE, interval, interval_of_two
from autotune.record_base import Record
from autotune.records import Outcome, RunRecord, Stage, Trial
from autotune.reports.si import GIB

__all__ = ["BETWEEN_RUNS", "Change", "Comparison", "Difference", "Run", "comparison"]

BETWEEN_RUNS = (
    "The intervals hold what varies within a run, from block to block. Runs at different times on one machine differ "
    "by more than that (temperature, clocks, other load, where memory lies), which no single pair of runs can show: "
    "a difference of a few per cent is worth measuring again, in one run."
)
# With fewer blocks an interval says nothing.
_MIN_BLOCKS = 3


class Run(Record):
    """One run. config: the recommended one, else the profiled one; images_per_second: its median over steps, from the
    race where it was raced. None where the run has none."""

    path: str
    model: str
    machine: str
    config: str | None = None
    images_per_second: float | None = None
    peak_gib: float | None = None


class Change(Record):
    """What is not the same in all runs; values: as text, one per run, empty where it is not known."""

    name: str
    values: tuple[str, ...]


class Difference(Record):
    """A run against the first. ratio: times as many images/s; low, high: its 95% interval, None below three blocks.

    paired: the blocks of both trained on the same images. same_work: model, data, seed, optimizer and effective batch
    are the same. real: the interval leaves out 1 and the ratio the indifference zone; None without an interval.
    """

    path: str
    ratio: float
    low: float | None = None
    high: float | None = None
    blocks: int = 0
    paired: bool = False
    same_work: bool
    real: bool | None = None
    sentence: str


class Comparison(Record):
    runs: tuple[Run, ...]
    changes: tuple[Change, ...]
    differences: tuple[Difference, ...]
    note: str = BETWEEN_RUNS


def comparison(runs: Sequence[tuple[str, RunRecord]]) -> Comparison:
    """runs: (path, record), the one that the others are compared with first."""
    first, *others = runs
    differences = (_difference(first, other) for other in others)
    return Comparison(
        runs=tuple(_run(path, record) for path, record in runs),
        changes=tuple(_changes([record for _, record in runs])),
        differences=tuple(difference for difference in differences if difference),
    )


def _config(record: RunRecord) -> TrainingConfig | None:
    if record.recommendation:
        return record.recommendation.config
    return record.profile.config if record.profile and not record.is_search else None


def _run(path: str, record: RunRecord) -> Run:
    config = _config(record)
    peaks = [t.peak_memory_bytes for t in record.trials if t.config == config and t.peak_memory_bytes is not None]
    return Run(
        path=path,
        model=_model(record),
        machine=_machine(record),
        config=config.label() if config else None,
        images_per_second=_images_per_second(record),
        peak_gib=max(peaks) / GIB if peaks else None,
    )


def _model(record: RunRecord) -> str:
    if record.workload:
        return record.workload.model
    return record.job.model.name if record.job else record.profile.model if record.profile else ""


def _machine(record: RunRecord) -> str:
    if record.machine:
        return record.machine.device_name
    return record.profile.device if record.profile else record.job.device if record.job else ""


def _trials(record: RunRecord) -> list[Trial]:
    """The timed trials of the run's config: those of the race, or of the search where it was not raced."""
    config = _config(record)
    timed = [t for t in record.standing if t.config == config and t.outcome is Outcome.OK and t.step_ms]
    return [trial for trial in timed if trial.stage is Stage.RACE] or timed


def _images_per_second(record: RunRecord) -> float | None:
    config, trials = _config(record), _trials(record)
    if trials:
        return median(speed for trial in trials for speed in trial.images_per_second)
    if config and record.profile and not record.is_search:
        return 1000.0 * config.images_per_step / record.profile.step_ms
    return None


def _changes(records: Sequence[RunRecord]) -> list[Change]:
    facts = [_facts(record) for record in records]
    names = dict.fromkeys(name for each in facts for name in each)
    rows = (Change(name=name, values=tuple(each.get(name, "") for each in facts)) for name in names)
    return [row for row in rows if len(set(row.values)) > 1]


def _facts(record: RunRecord) -> dict[str, str]:
    """What could explain a difference, as text."""
    config = _config(record)
    facts = {**_work(record), **({name: _text(value) for name, value in config} if config else {})}
    if record.machine:
        facts |= {name.replace("_", " "): _text(value) for name, value in record.machine if name != "device_uuid"}
    if record.is_search:
        facts |= {"budget": f"{record.budget_s:.0f} s", "status": str(record.status)}
    return facts


def _work(record: RunRecord) -> dict[str, str]:
    """What a step computes, apart from the config."""
    work = {"model": _model(record)}
    if record.workload:
        facts = record.workload
        work |= {"parameters trained": f"{facts.trainable_parameters:,}", "input": facts.input, "data": facts.data}
        work |= {"images": str(facts.images), "images in turn": str(facts.images_in_turn)}
    if record.job:
        job = record.job
        work |= {"effective batch": str(job.effective_batch), "optimizer": job.optimizer, "seed": str(job.seed)}
    return work


def _text(value: object) -> str:
    if value is None:
        return ""
    return ".".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _difference(first: tuple[str, RunRecord], other: tuple[str, RunRecord]) -> Difference | None:
    """None where either has nothing timed."""
    speeds = [_images_per_second(record) for _, record in (first, other)]
    if speeds[0] is None or speeds[1] is None:
        return None
    unlike = [name for name, value in _work(first[1]).items() if _work(other[1]).get(name) != value]
    theirs, ours = _block_ms(first[1]), _block_ms(other[1])
    common = theirs.keys() & ours.keys() if not unlike else set()
    paired = len(common) >= _MIN_BLOCKS
    ratio, low, high, blocks = speeds[1] / speeds[0], None, None, 0
    if paired:
        blocks = len(common)
        ratio, low, high = interval([math.log(theirs[steps] / ours[steps]) for steps in sorted(common)])
    elif min(len(theirs), len(ours)) >= _MIN_BLOCKS:
        blocks = min(len(theirs), len(ours))
        ratio, low, high = interval_of_two(_log_speeds(other[1], ours), _log_speeds(first[1], theirs))
    real = None if low is None or high is None else (low > 1.0 or high < 1.0) and not _tie(ratio)
    return Difference(
        path=other[0],
        ratio=ratio,
        low=low,
        high=high,
        blocks=blocks,
        paired=paired,
        same_work=not unlike,
        real=real,
        sentence=_sentence(first[0], other[0], ratio, low, high, real, unlike),
    )


def _tie(ratio: float) -> bool:
    return 1.0 / (1.0 + INDIFFERENCE) < ratio < 1.0 + INDIFFERENCE


def _block_ms(record: RunRecord) -> dict[tuple[int, ...], float]:
    """Mean time of each block's steps, by which steps they were: the same numbers are the same images in every run of
    the same work."""
    times: dict[tuple[int, ...], list[float]] = {}
    for trial in _trials(record):
        times.setdefault(trial.steps, []).append(fmean(trial.step_ms))
    return {steps: fmean(values) for steps, values in times.items()}


def _log_speeds(record: RunRecord, block_ms: dict[tuple[int, ...], float]) -> list[float]:
    config = _config(record)
    assert config is not None
    return [math.log(1000.0 * config.images_per_step / ms) for ms in block_ms.values()]


def _sentence(
    first: str, other: str, ratio: float, low: float | None, high: float | None, real: bool | None, unlike: list[str]
) -> str:
    """`runs/b trains 1.23x [1.20, 1.26] as many images/s as runs/a: a real difference within these runs.`"""
    apart = f" They did different work ({', '.join(unlike)}): the ratio is of unlike things." if unlike else ""
    if low is None or high is None:
        few = "no interval, for want of three blocks each: it may be chance"
        return f"{other} trains {ratio:.2f}x as many images/s as {first}; {few}.{apart}"
    what = "a real difference, as far as single runs can tell" if real else "no real difference"
    return f"{other} trains {ratio:.2f}x [{low:.2f}, {high:.2f}] as many images/s as {first}: {what}.{apart}"
