"""The report of a profile in a terminal: plain text, without colours, at most WIDTH columns wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import fill

from autotune.profile_record import Profile
from autotune.reports import layer_table
from autotune.reports import profile_sentences as sentences
from autotune.reports.layer_table import WIDTH
from autotune.reports.plain import printable
from autotune.reports.profile_caveats import profile_caveats
from autotune.reports.profile_tables import ceilings_table, class_notes, class_table, unmodelled_table

__all__ = ["render"]


def render(profile: Profile) -> str:
    """The whole report, without a newline at its end."""
    return "\n\n".join(part for part in _parts(profile) if part)


def _parts(profile: Profile) -> Iterator[str]:
    yield _lines([sentences.host_bound(profile), sentences.headline(profile)])
    yield _section("What weakens this", profile_caveats(profile))
    yield _lines([sentences.timing(profile), sentences.occupancy(profile)])
    yield class_table(profile)
    yield _lines(class_notes(profile))
    yield layer_table.table(profile) or "No layer took any of the device's time."
    yield _lines(layer_table.notes(profile))
    yield _section("What could help", sentences.advice(profile))
    yield unmodelled_table(profile)
    yield ceilings_table(profile)
    yield _section("Notes", sentences.notes(profile))


def _lines(texts: Sequence[str | None]) -> str:
    return "\n".join(_wrapped(text) for text in texts if text)


def _wrapped(text: str, indent: str = "") -> str:
    return fill(printable(text), WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _section(heading: str, texts: Sequence[str]) -> str:
    return "\n".join([f"{heading}:", *(_wrapped(f"- {text}", indent="  ") for text in texts)]) if texts else ""
