from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from autotune.profile_record import Phase, Unmodelled
from autotune.reports import layer_table, markdown, profile_markdown
from profiles import EVERY_PROFILE, advised, detector_profile, host_bound_profile, layer
from records import faster, profiled

HTML = MarkdownIt("commonmark").enable("table")


def unfolded(text: str) -> str:
    return re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", EVERY_PROFILE)
def test_about_twenty_lines_stand_in_the_open(name):
    text = profile_markdown.section(EVERY_PROFILE[name])
    assert text.startswith("## Where the time goes\n")
    assert len([line for line in unfolded(text).splitlines() if line]) <= 20
    assert not re.search(r"\bnan\b|None", text)


def test_a_host_bound_step_is_said_before_anything_else():
    lines = profile_markdown.section(host_bound_profile()).splitlines()
    assert lines[1].startswith("**The step is mostly host-bound: the device waits for Python during 56% of it;")
    assert "host-bound" not in profile_markdown.section(detector_profile())


def test_classes_and_the_best_advice_are_in_the_open():
    text = unfolded(profile_markdown.section(detector_profile()))
    assert "| compute | 46.50 | 46.5% | 5 |" in text
    assert "- at most 1.37x from compile=true (host 13.00 ms, memory 2.50 ms): if nothing waited" in text
    assert text.index("1.37x") < text.index("1.18x")


def test_how_to_read_the_classes_stands_beneath_them():
    text = unfolded(profile_markdown.section(detector_profile()))
    assert "host: how long the device waited for launches; layers for which" in text
    on_a_processor = unfolded(profile_markdown.section(detector_profile(device_type="cpu")))
    assert "host: how long Python ran between operators; layers for which" in on_a_processor


def test_advice_beyond_the_third_is_folded_and_keeps_its_number():
    advice = tuple(advised(f"knob{n}", 1.1 + n) for n in range(5))
    text = profile_markdown.section(detector_profile(advice=advice))
    assert all(f"at most {1.1 + n:.2f}x from knob{n}" in text for n in range(5))
    assert "knob2" in unfolded(text)
    assert "knob1" not in unfolded(text)


def test_the_table_of_layers_shows_as_it_is_laid_out():
    page = HTML.render(profile_markdown.section(detector_profile()))
    assert layer_table.table(detector_profile()) in page


@pytest.mark.parametrize("name", ["</pre><script>x</script>", "```", "<img src=x>", "a|b", "**c**"])
def test_a_name_from_outside_shows_as_text(name):
    of = detector_profile(
        model=name,
        idle_ms=0.0,
        layers=(layer(name, Phase.FORWARD, 5.0),),
        unmodelled=(Unmodelled(operator=name, time_ms=1.0),),
        notes=(name,),
    )
    page = HTML.render(profile_markdown.section(of))
    assert not set(re.findall(r"<(/?[a-z0-9]+)", page)) & {"script", "img", "em"}
    # Only our own sentence on a host-bound step would be bold; three tables are laid out as they are.
    assert "<strong>" not in page
    assert page.count("<pre>") == page.count("</pre>") == 3


def test_the_report_of_a_run_has_the_section_where_the_run_has_a_profile():
    assert profile_markdown.section(detector_profile()) in markdown.render(profiled())
    assert "## Where the time goes" not in markdown.render(faster())
    # What is folded leaves empty lines behind.
    assert len([line for line in unfolded(markdown.render(profiled())).splitlines() if line]) < 40
