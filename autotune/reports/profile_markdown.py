"""A profile in report.md: where the step's time goes and what could help; the tables are folded."""

from __future__ import annotations

from collections.abc import Iterator

from autotune.profile_record import Profile
from autotune.reports import layer_table
from autotune.reports import profile_sentences as sentences
from autotune.reports.markup import bullets, escape, folded, preformatted, table
from autotune.reports.profile_caveats import weakened
from autotune.reports.profile_tables import (
    ceilings_table,
    class_headers,
    class_notes,
    class_rows,
    unmodelled_table,
)

__all__ = ["section"]

_ADVICE_SHOWN = 3


def section(profile: Profile) -> str:
    """A section of GitHub-flavoured Markdown, some twenty lines of it in the open."""
    below = "\n".join(part for part in _folded(profile) if part)
    return "## Where the time goes\n" + "\n\n".join(part for part in (*_open(profile), below) if part)


def _open(profile: Profile) -> Iterator[str]:
    host_bound = sentences.host_bound(profile)
    yield f"**{escape(host_bound)}**" if host_bound else ""
    yield " ".join(
        escape(text) for text in (sentences.headline(profile), sentences.timing(profile), sentences.occupancy(profile))
    )
    yield escape(weakened(profile) or "")
    yield table(class_headers(profile), class_rows(profile))
    yield " ".join(map(escape, class_notes(profile)))
    yield bullets(sentences.advice(profile)[:_ADVICE_SHOWN], heading="What could help:")


def _folded(profile: Profile) -> Iterator[str]:
    yield folded("More advice", bullets(sentences.advice(profile)[_ADVICE_SHOWN:]))
    layers = preformatted(layer_table.table(profile))
    yield folded("Layers", "\n\n".join(filter(None, [layers, bullets(layer_table.notes(profile))])))
    yield folded("Operators without a cost", preformatted(unmodelled_table(profile)))
    yield folded("Ceilings", preformatted(ceilings_table(profile)))
    yield folded("Notes on the profile", bullets(sentences.notes(profile)))
