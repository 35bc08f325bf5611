"""Runs beside each other: their figures, what changed between them, and whether the difference in speed is real."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.intervals import INDIFFERENCE
from autotune.record_base import Record
from autotune.records import RunRecord
from autotune.reports.caveats import company
from autotune.reports.si import GIB
from autotune.reports.speed_ratio import Ratio, config_of, images_per_second, is_profile, ratio_of

__all__ = ["BETWEEN_RUNS", "WITHIN_PROFILES", "Change", "Comparison", "Difference", "Run", "comparison"]

BETWEEN_RUNS = (
    "The intervals hold what varies within a run, from block to block. Runs at different times on one machine differ "
    "by more than that (temperature, clocks, other load, where memory lies), which no single pair of runs can show: "
    "a difference of a few per cent, or any beside other processes, is worth measuring again, in one run."
)
WITHIN_PROFILES = (
    "A profile times the steps of one process: its interval holds what varies from step to step there. The next "
    "process may be faster or slower by more, on the same machine too; `autotune run` measures each side in several."
)


class Run(Record):
    """One run. config: the recommended one, else the profiled one; images_per_second: over the blocks of its race, of
    its search where it was not raced. None where the run has none."""

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
    """A run against the first. ratio: times as many images/s; low, high: its 95% interval, None where it cannot be
    said. blocks: on each side, those of a race or the rounds of a profile.

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
    notes: tuple[str, ...]


def comparison(runs: Sequence[tuple[str, RunRecord]]) -> Comparison:
    """runs: (path, record), the one that the others are compared with first."""
    first, *others = runs
    differences = (_difference(first, other) for other in others)
    return Comparison(
        runs=tuple(_run(path, record) for path, record in runs),
        changes=tuple(_changes([record for _, record in runs])),
        differences=tuple(difference for difference in differences if difference),
        notes=(
            *(f"{path}: {sentence}" for path, record in runs for sentence in company(record)),
            BETWEEN_RUNS,
            *([WITHIN_PROFILES] if any(is_profile(record) for _, record in runs) else []),
        ),
    )


def _run(path: str, record: RunRecord) -> Run:
    config = config_of(record)
    peaks = [t.peak_memory_bytes for t in record.trials if t.config == config and t.peak_memory_bytes is not None]
    return Run(
        path=path,
        model=_model(record),
        machine=_machine(record),
        config=config.label() if config else None,
        images_per_second=images_per_second(record),
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


def _changes(records: Sequence[RunRecord]) -> list[Change]:
    facts = [_facts(record) for record in records]
    names = dict.fromkeys(name for each in facts for name in each)
    rows = (Change(name=name, values=tuple(each.get(name, "") for each in facts)) for name in names)
    return [row for row in rows if len(set(row.values)) > 1]


def _facts(record: RunRecord) -> dict[str, str]:
    """What could explain a difference, as text."""
    config = config_of(record)
    facts = {**_work(record), **({name: _text(value) for name, value in config} if config else {})}
    if record.machine:
        facts |= {name.replace("_", " "): _text(value) for name, value in record.machine if name != "device_uuid"}
    if record.is_search:
        facts |= {"budget": f"{record.budget_s:.0f} s", "objective": record.objective}
        facts |= {"knobs asked for": ", ".join(record.knobs) or "none", "only tried": "; ".join(record.only)}
        facts |= {"status": str(record.status)}
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
    unlike = [name for name, value in _work(first[1]).items() if _work(other[1]).get(name) != value]
    found = ratio_of(first[1], other[1], same_work=not unlike)
    if found is None:
        return None
    return Difference(
        path=other[0],
        ratio=found.ratio,
        low=found.low,
        high=found.high,
        blocks=found.blocks,
        paired=found.paired,
        same_work=not unlike,
        real=_real(found),
        sentence=_sentence(first, other, found, unlike),
    )


def _real(found: Ratio) -> bool | None:
    """None without an interval."""
    if found.low is None or found.high is None:
        return None
    return (found.low > 1.0 or found.high < 1.0) and not _tie(found.ratio)


def _tie(ratio: float) -> bool:
    return 1.0 / (1.0 + INDIFFERENCE) < ratio < 1.0 + INDIFFERENCE


def _sentence(first: tuple[str, RunRecord], other: tuple[str, RunRecord], found: Ratio, unlike: list[str]) -> str:
    """`runs/b trains 1.23x [1.20, 1.26] as many images/s as runs/a: a real difference within these runs.`"""
    apart = f"They did different work ({', '.join(unlike)}): the ratio is of unlike things." if unlike else ""
    if found.low is None or found.high is None:
        return f"{other[0]} trains {found.ratio:.2f}x as many images/s as {first[0]}; {found.why_not}. {apart}".rstrip()
    interval = f"[{found.low:.2f}, {found.high:.2f}]"
    ratio = f"{other[0]} trains {found.ratio:.2f}x {interval} as many images/s as {first[0]}"
    if apart:
        return f"{ratio}. {apart}"
    if _real(found):
        told_by = "one process each" if is_profile(other[1]) else "single runs"
        what = f"a real difference, as far as {told_by} can tell"
    elif _tie(found.ratio):
        what = "no real difference"
    else:
        what = "it may be chance, since the interval holds 1"
    return f"{ratio}: {what}."
