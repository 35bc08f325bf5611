"""The report in a terminal: plain text, without colours, so that a pipe and NO_COLOR need no care."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from autotune.records import Outcome, RunRecord, Stage, VerdictKind
from autotune.reports import knob_sentences, pareto, profile_sentences, profile_terminal, sentences
from autotune.reports.caveats import caveats
from autotune.reports.columns import filled
from autotune.reports.plain import printable
from autotune.reports.profile_caveats import weakened
from autotune.reports.si import gib
from autotune.reports.table import trials_table

__all__ = ["HEADERS", "cells", "legend", "render"]

HEADERS = ("setting", "images/s", "10th-90th", "vs baseline", "race (images/s)", "peak GiB", "notes")
# Words; all else is figures.
_LEFT = ("setting", "notes", "")


def render(record: RunRecord) -> str:
    """The whole report, without a newline at its end."""
    return "\n\n".join(part for part in _parts(record) if part)


def cells(row: Mapping[str, Any]) -> list[str]:
    """One row of trials_table in words, under HEADERS."""
    marks = ["baseline"] * bool(row["is_baseline"]) + ["recommended"] * bool(row["is_recommended"])
    failed = [] if row["outcome"] == Outcome.OK else [str(row["outcome"])]
    low, high = row["p10_images_per_second"], row["p90_images_per_second"]
    return [
        str(row["setting"]),
        _figure(row["median_images_per_second"], ".4g"),
        "" if math.isnan(low) or low == high else f"{low:.4g}-{high:.4g}",
        _figure(row["ratio"], ".2f", "x"),
        _raced(row["race_ratio"], row["race_images_per_second"]),
        "" if math.isnan(row["peak_memory_gib"]) else gib(row["peak_memory_gib"]),
        "; ".join([*marks, *failed, *filter(None, [str(row["notes"])])]),
    ]


def legend(record: RunRecord) -> str:
    """What the figures of one row are taken over, which differs."""
    race = ""
    verdict = record.recommendation.verdict if record.recommendation else None
    if verdict and verdict.kind is not VerdictKind.NOT_MEASURED:
        race = f"; race: the mean of {len(verdict.log_ratios)} blocks beside the baseline, which the verdict comes from"
    elif any(trial.stage is Stage.RACE and trial.step_ms for trial in record.standing):
        race = "; race: the mean of those blocks beside the baseline that there was time for"
    return f"images/s: median over optimizer steps; vs baseline: over the same images{race}."


def _raced(ratio: float, images_per_second: float) -> str:
    """`1.62x (10.3)`: the search's images/s may have been lucky, the race's are what the verdict means."""
    if math.isnan(images_per_second):
        return ""
    # Where it was interrupted one side may stand alone.
    return f"{_figure(ratio, '.2f', 'x')} ({images_per_second:.4g})".lstrip()


def _figure(value: float, form: str, unit: str = "") -> str:
    return "" if math.isnan(value) else f"{value:{form}}{unit}"


def _parts(record: RunRecord) -> Iterator[str]:
    yield printable(sentences.title(record))
    if record.profile and not record.is_search:
        yield profile_terminal.render(record.profile)
        return
    yield "\n".join(map(printable, filter(None, [sentences.headline(record), sentences.advice(record)])))
    yield _section("What weakens this", caveats(record))
    yield _table(record)
    yield _front(record)
    yield _profile(record)
    yield _section("Compiled", knob_sentences.compiled(record))
    yield _section("Notes", [*(record.workload.notes if record.workload else ()), *sentences.course(record)])
    yield _section("Failed", sentences.failures(record))
    yield _section("Left out", sentences.left_out(record))


def _table(record: RunRecord) -> str:
    headers, rows = filled(HEADERS, [cells(row) for row in trials_table(record)])
    return "\n".join([_aligned(headers, rows), *[legend(record)] * ("images/s" in headers)])


def _front(record: RunRecord) -> str:
    found = pareto.front(pareto.points(record))
    if not found:
        return ""
    return f"{pareto.heading(found)}:\n{_aligned(pareto.HEADERS, pareto.rows(record, found))}"


def _aligned(all_headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    headers, rows = filled(all_headers, [list(map(printable, row)) for row in cells])
    align = ["left" if header in _LEFT else "right" for header in headers]
    return tabulate(rows, headers=headers, colalign=align, disable_numparse=True) if rows else ""


def _profile(record: RunRecord) -> str:
    """Why a step takes its time, in two or three lines."""
    if record.profile is None:
        return ""
    lines = [
        profile_sentences.host_bound(record.profile),
        profile_sentences.by_class(record.profile),
        weakened(record.profile),
        *(f"What could help most: {advice}" for advice in profile_sentences.advice(record.profile)[:1]),
    ]
    return "\n".join(printable(line) for line in lines if line)


def _section(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{heading}:", *(f"- {printable(line)}" for line in lines)]) if lines else ""
