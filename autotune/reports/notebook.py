"""What a notebook shows of a recommendation or a profile: a small piece of HTML without scripts."""

from __future__ import annotations

from autotune.profile_record import Profile
from autotune.records import RunRecord
from autotune.reports import profile_sentences, sentences
from autotune.reports.caveats import caveats
from autotune.reports.page.fixes import first_to_fix
from autotune.reports.page.render import environment
from autotune.reports.page.search import measured
from autotune.reports.plain import printable
from autotune.reports.profile_caveats import profile_caveats
from autotune.reports.profile_tables import class_headers, class_notes, class_rows
from autotune.reports.si import gib

__all__ = ["profile", "recommendation"]


def recommendation(record: RunRecord) -> str:
    """The verdict, what weakens it, the config, and what was measured. record: one with a recommendation."""
    assert record.recommendation is not None
    return _drawn(
        "recommendation.html",
        headline=sentences.headline(record),
        advice=sentences.advice(record),
        caveats=caveats(record),
        config=record.recommendation.config.to_yaml(),
        measured=sorted(measured(record), key=lambda each: -(each.images_per_second or 0.0)),
    )


def profile(profile: Profile) -> str:
    """Where the step's time goes, what weakens that, and which layers to fix first."""
    said = (profile_sentences.host_bound(profile), profile_sentences.headline(profile))
    return _drawn(
        "profile.html",
        sentences=[sentence for sentence in said if sentence],
        headers=class_headers(profile),
        classes=class_rows(profile),
        notes=class_notes(profile),
        caveats=profile_caveats(profile),
        fixes=first_to_fix(profile),
        advice=profile_sentences.advice(profile),
    )


def _drawn(template: str, **values: object) -> str:
    return environment().get_template(template).render(values, printable=printable, gib=gib)
