"""report.md: the verdict first, then the config to paste, the table, and how it was measured."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from autotune.records import RunRecord, VerdictKind
from autotune.reports import sentences
from autotune.reports.caveats import caveats
from autotune.reports.snippet import training_snippet
from autotune.reports.table import trials_frame
from autotune.reports.terminal import HEADERS, cells, printable

__all__ = ["escape", "render"]

# Rows that stand in the open; more are folded.
_ROWS_SHOWN = 8
# What is markup wherever it stands; brackets only where they make a link, and signs that begin a list or a heading.
_SPECIAL = re.compile(
    r"[\\`*|]|~(?=~)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[\[(:])|^[\[#+=-]|(?:(?<=^\d)|(?<=^\d\d))[.)](?=\s|$)"
)


def render(record: RunRecord) -> str:
    """The report as GitHub-flavoured Markdown, with a newline at its end."""
    return "\n\n".join(part for part in _parts(record) if part) + "\n"


def escape(text: str) -> str:
    """text as it reads, on one line, whatever Markdown or HTML it would otherwise be."""
    line = html.escape(printable(text), quote=False)
    # Character references rather than backslashes: a table splits its cells at `\\|` in some renderers.
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", line)


def _parts(record: RunRecord) -> Iterator[str]:
    yield f"# autotune: {escape(sentences.title(record))}"
    yield f"**{escape(sentences.headline(record))}** {escape(sentences.advice(record) or '')}".rstrip()
    yield _bullets(caveats(record), heading="What weakens this:")
    yield from _config(record)
    rows = [cells(row) for _, row in trials_frame(record).iterrows()]
    if rows:
        yield f"## Measured\n{_table(HEADERS, rows[:_ROWS_SHOWN])}"
        yield _legend(record)
    if len(rows) > _ROWS_SHOWN:
        yield _folded(f"{len(rows) - _ROWS_SHOWN} more settings", _table(HEADERS, rows[_ROWS_SHOWN:]))
    yield _bullets(record.workload.notes if record.workload else ())
    yield _folded("Failed", _bullets(sentences.failures(record)))
    yield _folded("Left out", _bullets(sentences.left_out(record)))
    yield _folded("Machine", _table(("", ""), sentences.machine(record)))
    yield _folded("How it was measured", _table(("", ""), sentences.measured(record)))


def _config(record: RunRecord) -> Iterator[str]:
    if record.recommendation is None:
        return
    config = record.recommendation.config
    yield f"## Config\n```yaml\n{config.to_yaml()}```"
    device_type = record.machine.device_type if record.machine else record.job.device.partition(":")[0]
    yield _folded("The same in plain PyTorch", f"```python\n{training_snippet(config, device_type)}\n```")


def _legend(record: RunRecord) -> str:
    race = "."
    verdict = record.recommendation.verdict if record.recommendation else None
    if verdict and verdict.kind is not VerdictKind.NOT_MEASURED:
        race = (
            f"; race: side by side with the baseline in {len(verdict.log_ratios)} paired blocks, "
            "which the verdict comes from."
        )
    return f"images/s: median over optimizer steps; vs baseline: over the same images{race}"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(escape, row))} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}", *lines])


def _bullets(lines: Sequence[str], heading: str = "") -> str:
    bullets = [f"- {escape(line)}" for line in lines]
    return "\n".join([heading, *bullets] if heading and bullets else bullets)


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>" if content else ""
