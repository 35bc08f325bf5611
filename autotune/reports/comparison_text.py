"""A comparison of runs in a terminal, and as Markdown."""

from __future__ import annotations

from tabulate import tabulate

from autotune.reports.comparison import Comparison, Run
from autotune.reports.markup import bullets, escape, table
from autotune.reports.plain import printable
from autotune.reports.si import gib

__all__ = ["markdown", "terminal"]

_HEADERS = ("run", "model", "machine", "config", "images/s", "peak GiB")
_ALIGN = ("left", "left", "left", "left", "right", "right")


def terminal(comparison: Comparison) -> str:
    """Without a newline at its end."""
    runs = [[printable(cell) for cell in _cells(run)] for run in comparison.runs]
    parts = [tabulate(runs, _HEADERS, colalign=_ALIGN, disable_numparse=True)]
    parts.append("\n".join(printable(sentence) for sentence in _sentences(comparison)))
    if comparison.changes:
        rows = [[printable(cell) for cell in (change.name, *change.values)] for change in comparison.changes]
        changed = tabulate(rows, ("changed", *_names(comparison)), disable_numparse=True)
        parts.append(changed)
    return "\n\n".join(parts)


def markdown(comparison: Comparison) -> str:
    """GitHub-flavoured Markdown, without a newline at its end."""
    changes = [(change.name, *change.values) for change in comparison.changes]
    names = [escape(name) for name in _names(comparison)]
    parts = [
        "# autotune: runs compared",
        table(_HEADERS, map(_cells, comparison.runs)),
        bullets(_sentences(comparison)),
        f"## What changed\n{table(('', *names), changes)}" if changes else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _cells(run: Run) -> list[str]:
    speed = f"{run.images_per_second:.4g}" if run.images_per_second is not None else ""
    peak = gib(run.peak_gib) if run.peak_gib is not None else ""
    return [run.path, run.model, run.machine, run.config or "none recommended", speed, peak]


def _names(comparison: Comparison) -> list[str]:
    return [printable(run.path) for run in comparison.runs]


def _sentences(comparison: Comparison) -> list[str]:
    sentences = [difference.sentence for difference in comparison.differences]
    if not sentences:
        untimed = [printable(run.path) for run in comparison.runs if run.images_per_second is None]
        why = f"Nothing to compare: {', '.join(untimed)} timed no config that it recommends"
        return [f"{why}; the command of an interrupted run goes on with --resume."]
    if not comparison.changes:
        sentences.append("Nothing that the records tell changed between the runs.")
    return [*sentences, *comparison.notes]
