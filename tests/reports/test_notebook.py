from __future__ import annotations

import pytest

import autotune
from autotune.profile_record import Phase
from autotune.reports.profile_caveats import profile_caveats
from autotune.reports.profile_tables import class_notes
from profiles import EVERY_PROFILE, detector_profile, layer
from records import disturbed, faster, nothing_measured, tie


@pytest.mark.parametrize("record", [faster(), tie(), disturbed()])
def test_a_recommendation_shows_its_verdict_caveats_and_config(record):
    page = autotune.Recommendation(record)._repr_html_()
    assert page.lstrip().startswith("<div>")
    assert record.recommendation.verdict.sentence in page
    assert f"batch_size: {record.recommendation.config.batch_size}" in page
    assert ("What weakens this" in page) == (record != faster())
    assert "None" not in page


def test_a_budget_that_would_do_is_named_as_recommend_takes_it():
    record = faster()
    told = record.recommendation.verdict.model_copy(update={"sentence": "Not sure: ...; --budget 14s would do."})
    recommendation = record.recommendation.model_copy(update={"verdict": told})
    shown = repr(autotune.Recommendation(record.model_copy(update={"recommendation": recommendation})))
    assert shown.endswith('Not sure: ...; budget="14s" would do.>')


@pytest.mark.parametrize("profile", EVERY_PROFILE.values(), ids=EVERY_PROFILE)
def test_a_profile_shows_where_its_step_goes(profile):
    assert "\n" not in str(profile)
    assert len(str(profile)) < 300, "what print() shows is a sentence"
    page = profile._repr_html_()
    assert profile.device in page
    assert "<script" not in page
    for total in profile.classes:
        assert total.bound in page
    assert ("What weakens this" in page) == bool(profile_caveats(profile))
    assert all(note in page for note in class_notes(profile))


def test_names_show_as_text():
    page = detector_profile([layer("<script>alert(1)</script>", Phase.FORWARD, 5.0, memory_ms=1.0)])._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_a_run_without_a_recommendation_makes_none():
    with pytest.raises(autotune.AutotuneError, match="without a recommendation"):
        autotune.Recommendation(nothing_measured())
