from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autotune.profile_record import Bound, Phase
from autotune.reports.page import render as render_module
from autotune.reports.page.embedding import embedded, rounded
from autotune.reports.page.render import chart_data, render, unwrapped
from autotune.reports.profile_caveats import profile_caveats
from autotune.reports.profile_sentences import headline, notes
from profiles import EVERY_PROFILE, detector_profile, layer
from records import faster, nothing_measured, profiled


class Shown(HTMLParser):
    """The tags of a page, and its text outside scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        if not self.tags or self.tags[-1] not in ("script", "style"):
            self.text += data


def shown(page: str) -> Shown:
    parser = Shown()
    parser.feed(page)
    return parser


def test_every_kind_of_run_has_a_page(any_record):
    page = render(any_record)
    assert page.startswith("<!doctype html>")
    text = " ".join(shown(page).text.split())
    assert "None" not in text
    assert " nan" not in text.lower()
    assert "How it was measured" in text


@pytest.mark.parametrize("profile", EVERY_PROFILE.values(), ids=EVERY_PROFILE)
def test_every_kind_of_profile_has_a_page(profile):
    alone = profiled().model_copy(update={"profile": profile, "search": "", "recommendation": None, "trials": ()})
    text = " ".join(shown(render(alone)).text.split())
    assert text.count(headline(profile)) == 1
    assert ("What weakens this" in text) == bool(profile_caveats(profile))
    assert all(note in text for note in notes(profile))


def test_the_verdict_and_what_weakens_it_come_before_all_else(any_record):
    page = render(any_record)
    places = [page.find(words) for words in ('class="verdict"', "What weakens this", 'id="config"', 'id="step"')]
    assert [place for place in places if place >= 0] == sorted(place for place in places if place >= 0)


def test_a_page_of_nothing_says_why_and_carries_no_charts():
    page = render(nothing_measured())
    assert "No verdict: the run failed: no CUDA GPU." in page
    assert len(page) < 50_000


def test_the_embedded_data_is_what_the_charts_get():
    page = render(profiled())
    content = re.search(r'id="data">(.*?)</script>', page, flags=re.DOTALL)
    assert content is not None
    read = json.loads(content[1])
    made = json.loads(embedded(chart_data(profiled())))
    assert read == made
    assert len(read["layers"]["rows"]) == len(profiled().profile.layers)
    assert len(read["trials"]["rows"]) == len(profiled().trials)


def test_nothing_from_outside_becomes_markup(hostile):
    page = shown(render(hostile))
    ours = shown(render(profiled()))
    assert page.tags.count("script") == ours.tags.count("script")
    assert "img" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    # Title, headline of the profile, machine, data, model, command, left out, failed, notes.
    assert page.text.count("window.broken=1") >= 2 * 8


def test_nothing_is_fetched():
    page = shown(render(profiled()))
    assert not [value for name, value in page.attributes if name == "src"]
    links = [value for name, value in page.attributes if name == "href" and value]
    assert all(link.startswith(("#", "data:")) for link in links)


def test_a_page_of_three_thousand_layers_and_five_hundred_trials_stays_small(large):
    assert len(large.profile.layers) == 3000
    assert len(large.trials) == 500
    assert len(render(large).encode()) < 8 * 10**6


@pytest.mark.parametrize(
    "damaged",
    [
        faster().model_copy(
            update={
                "recommendation": faster().recommendation.model_copy(
                    update={"verdict": faster().recommendation.verdict.model_copy(update={"log_ratios": (1e300, 0.0)})}
                )
            }
        ),
        profiled().model_copy(
            update={"profile": detector_profile([layer("conv", Phase.FORWARD, 5.0, bytes=1e-300, flops=1e30)])}
        ),
    ],
)
def test_figures_that_no_float_can_hold_are_left_out(damaged):
    assert render(damaged).startswith("<!doctype html>")


def test_json_cannot_end_its_script_and_has_no_nan():
    assert embedded("</script><!--") == '"\\u003c/script\\u003e\\u003c!--"'
    assert json.loads(embedded(["</script>&amp;"])) == ["</script>&amp;"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded(float("nan"))


@pytest.mark.parametrize(
    ("value", "kept"), [(None, None), (float("inf"), None), (123456.789, 123460.0), (1.5e-7, 1.5e-7)]
)
def test_figures_keep_five_digits(value, kept):
    assert rounded(value) == kept


def test_sections_that_have_nothing_are_left_out():
    page = render(faster())
    assert 'id="roofline"' not in page
    assert 'id="speed"' in page
    assert 'id="race"' in page


def test_plotlys_script_keeps_its_licence_and_loses_its_wrapper():
    known = (
        "/**\n* plotly.js\n*/\n(\n function(root, factory) {\n  root.moduleName = factory();\n"
        '} (typeof self !== "undefined" ? self : this, () => {\n'
        '"use strict";var Plotly=(()=>{})();\n\nwindow.Plotly = Plotly;\nreturn Plotly;\n}));'
    )
    assert unwrapped(known) == '/**\n* plotly.js\n*/\n\n"use strict";var Plotly=(()=>{})();\n\n'
    assert unwrapped(f"{known}\nmore();") == f"{known}\nmore();", "what is not known stays as it is"
    page = render(profiled())
    assert "Licensed under the MIT license" in page
    assert "return Plotly;\n}));" not in page, "Plotly's wrapper is another one now"


def test_white_text_reads_on_every_bounds_colour():
    css = (Path(render_module.__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", css.partition("@media")[0]))
    for bound in Bound:
        assert 1.05 / (_luminance(light[bound]) + 0.05) >= 4.5, bound


def _luminance(colour):
    """Relative luminance, as WCAG 2 defines it."""
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
