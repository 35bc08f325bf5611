"""report.md: the verdict first, then the config to paste, the table, and how it was measured."""

from __future__ import annotations

from collections.abc import Iterator

from autotune.records import RunRecord
from autotune.reports import knob_sentences, pareto, profile_markdown, sentences
from autotune.reports.caveats import caveats
from autotune.reports.columns import filled
from autotune.reports.markup import bullets, escape, folded, table
from autotune.reports.snippet import training_snippet
from autotune.reports.table import trials_table
from autotune.reports.terminal import HEADERS, cells, legend

__all__ = ["render"]

# Rows that stand in the open; more are folded.
_ROWS_SHOWN = 8


def render(record: RunRecord) -> str:
    """The report as GitHub-flavoured Markdown, with a newline at its end."""
    return "\n\n".join(part for part in _parts(record) if part) + "\n"


def _parts(record: RunRecord) -> Iterator[str]:
    yield f"# autotune: {escape(sentences.title(record))}"
    yield f"**{escape(sentences.headline(record))}** {escape(sentences.advice(record) or '')}".rstrip()
    yield bullets(caveats(record), heading="What weakens this:")
    yield "\n".join(_config(record))
    headers, rows = filled(HEADERS, [cells(row) for row in trials_table(record)])
    if rows:
        yield f"## Measured\n{table(headers, rows[:_ROWS_SHOWN])}"
    if "images/s" in headers:
        yield legend(record)
    if len(rows) > _ROWS_SHOWN:
        yield folded(f"{len(rows) - _ROWS_SHOWN} more settings", table(headers, rows[_ROWS_SHOWN:]))
    found = pareto.front(pareto.points(record))
    yield folded(pareto.heading(found), table(*filled(pareto.HEADERS, pareto.rows(record, found))))
    if record.profile:
        yield profile_markdown.section(record.profile)
    yield bullets(knob_sentences.compiled(record), heading="Compiled:")
    yield bullets(record.workload.notes if record.workload else ())
    last = (
        folded("Failed", bullets(sentences.failures(record))),
        folded("Left out", bullets(sentences.left_out(record))),
        folded("Machine", table(("", ""), sentences.machine(record))),
        folded("How it was measured", table(("", ""), sentences.measured(record))),
    )
    yield "\n".join(part for part in last if part)


def _config(record: RunRecord) -> Iterator[str]:
    if record.recommendation is None:
        return
    config = record.recommendation.config
    yield f"## Config\n```yaml\n{config.to_yaml()}```"
    device = record.machine.device_type if record.machine else record.job.device if record.job else "cuda"
    device_type = device.partition(":")[0]
    yield folded("The same in plain PyTorch", f"```python\n{training_snippet(config, device_type)}\n```")
