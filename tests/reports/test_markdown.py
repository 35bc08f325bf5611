from __future__ import annotations

import re

import pytest
import yaml
from markdown_it import MarkdownIt

from autotune.records import ModelSpec, Outcome, Stage
from autotune.reports import markdown
from autotune.reports.markup import escape
from records import BASELINE, BF16, FACTS, failed, faster, nothing_measured, ok, run_record

HTML = MarkdownIt("commonmark").enable("table")


def test_every_kind_of_run_renders(any_record):
    text = markdown.render(any_record)
    assert text.startswith("# autotune: frcnn")
    assert text.endswith("\n")
    assert "nan" not in text.lower()
    assert "None" not in text


def test_what_is_not_folded_stays_under_sixty_lines():
    many = [ok(BASELINE.at_batch_size(size, 10080), 100.0) for size in range(1, 40) if 10080 % size == 0]
    text = markdown.render(run_record([*faster().trials, *many], recommendation=faster().recommendation))
    unfolded = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert len(unfolded.splitlines()) < 60
    assert "more settings" in text


def test_the_verdict_comes_first_and_the_config_can_be_pasted():
    text = markdown.render(faster())
    assert text.splitlines()[2].startswith("**bf16 + channels_last, batch 16: 2.31x [2.28, 2.34] faster than")
    fenced = re.search(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    assert yaml.safe_load(fenced[1]) == BF16.model_dump(mode="json")


def test_how_it_was_measured_is_told():
    text = markdown.render(faster())
    for words in ("--data 'my data.json'", "| seed | 0 |", "280 of 300 s", "torch 2.14.1+cu130", "NVIDIA H200"):
        assert words in text


def test_a_run_that_failed_at_once_has_no_empty_parts():
    text = markdown.render(nothing_measured())
    assert "## Config" not in text
    assert "## Measured" not in text
    assert "no CUDA GPU" in text


@pytest.mark.parametrize(
    "name",
    [
        "x|<img onerror=1>",
        "<script>alert(1)</script>",
        "a_b*c*d `e` **f**",
        "[click](http://evil)",
        "[ref]: http://evil",
        "_under_ ~~struck~~ \\| back\\slash",
        "&lt;b&gt;",
        "- item",
        "1. one",
        "# heading",
        "![x](y)",
    ],
)
def test_a_users_name_shows_as_text_wherever_it_stands(name):
    trials = [ok(BASELINE, 100.0, Stage.BASELINE), failed(BF16, Outcome.CRASHED, name)]
    record = run_record(
        trials,
        job=faster().job.model_copy(update={"model": ModelSpec(name=name)}),
        workload=FACTS.model_copy(update={"model": name, "data": name, "notes": (name,)}),
        command=("autotune", "run", "--model", name),
        left_out=(name,),
        error=name,
    )
    text = markdown.render(record)
    tags = set(re.findall(r"<(/?[a-z0-9]+)", HTML.render(text)))
    assert not tags & {"img", "script", "a", "em", "s", "b", "ol"}
    # Title, headline, note, failure, left out, model, data, command; the command may quote it.
    assert _shown(HTML.render(text)).count(name) >= 7
    rows = [line for line in text.splitlines() if line.startswith("| default")]
    assert len(rows) == 2, "one among the measured, one on the front"


def _shown(page: str) -> str:
    """What a browser shows of a page."""
    from html import unescape

    return unescape(re.sub(r"<[^>]*>", "", page))


def test_a_line_break_in_a_name_ends_no_row():
    text = markdown.render(run_record(workload=FACTS.model_copy(update={"data": "a\n\n# b\n| c |"})))
    assert "| data | a # b &#124; c &#124;, 64 of them in turn" in text


@pytest.mark.parametrize(
    "text", ["2.31x [2.28, 2.34] faster", "1.00x", "frcnn_mobilenet, 800 px", "bf16 + channels_last"]
)
def test_ordinary_words_and_figures_stay_readable_in_the_source(text):
    assert escape(text) == text
