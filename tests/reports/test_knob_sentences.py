from __future__ import annotations

import pytest

from autotune.profile_record import Bound
from autotune.records import Compilation, Stage
from autotune.reports import markdown, sentences, terminal
from autotune.reports.knob_sentences import compiled, suggestion
from autotune.reports.page import render as page
from profiles import host_bound_profile, layer, profile
from records import BASELINE, EVERY_KIND, faster, ok, run_record

COMPILED = BASELINE.model_copy(update={"compile": True})


def _compiled(ms: float, **figures: object) -> list[str]:
    whole = Compilation(seconds=42.0, graphs=12, graph_breaks=1, recompilations=3, **figures)  # type: ignore[arg-type]
    warm = Compilation(seconds=9.0, graphs=12, graph_breaks=1, recompilations=3)
    trials = [
        ok(BASELINE, 400.0, Stage.BASELINE),
        ok(COMPILED, ms, Stage.KNOBS, compilation=whole),
        ok(COMPILED, ms, Stage.KNOBS, block=1, compilation=warm),
    ]
    return compiled(run_record(trials))


def test_compiling_is_set_off_against_what_it_saves_a_step():
    (line,) = _compiled(350.0)
    assert line.startswith("default + compile, batch 16: compiling took 42 s (12 graphs, 1 graph break, 3 recompil")
    # 42 s at 50 ms a step; 840 steps of 16 images over 160.
    assert "is paid back after 840 steps, 84.0 epochs: 1.14x as fast as without it." in line


def test_compiling_that_saves_nothing_is_never_paid_back():
    (line,) = _compiled(500.0)
    assert "is never paid back: the step is 1.25x as long as without it." in line


def test_what_still_compiles_while_it_is_timed_or_has_met_the_limit_is_said():
    (line,) = _compiled(350.0, timed_steps=1, at_limit=True)
    assert "still compiled in 1 timed step," in line
    assert "as often as PyTorch allows" in line
    assert "still compiled" not in _compiled(350.0)[0]


def test_every_report_has_what_compiling_took():
    record = run_record(
        [ok(BASELINE, 400.0, Stage.BASELINE), ok(COMPILED, 350.0, Stage.KNOBS, compilation=_some_compilation())]
    )
    for text in (terminal.render(record), markdown.render(record), page.render(record)):
        assert "is paid back after" in text


def _some_compilation() -> Compilation:
    return Compilation(seconds=42.0, graphs=1, graph_breaks=0, recompilations=0)


def test_knobs_are_suggested_where_a_step_waits_with_the_most_that_they_could_bring():
    record = faster().model_copy(update={"profile": host_bound_profile()})
    advice = {each.knob: each.speedup_at_most for each in host_bound_profile().advice}
    sentence = suggestion(record)
    assert sentence is not None
    assert f"compile at most {advice['compile']:.2f}x" in sentence
    assert sentence in sentences.left_out(record)
    asked = record.model_copy(update={"knobs": ("compile", "optimizer")})
    assert suggestion(asked) is None


def test_compiling_is_not_suggested_on_a_cpu_where_it_takes_minutes():
    on_cpu = host_bound_profile().model_copy(update={"device_type": "cpu"})
    sentence = suggestion(faster().model_copy(update={"profile": on_cpu}))
    assert sentence is None or "compile" not in sentence


def test_nothing_is_suggested_where_the_device_is_busy_or_nothing_was_profiled():
    busy = profile([layer("backbone", each, 50.0, Bound.COMPUTE) for each in ("forward", "backward")])
    assert suggestion(faster().model_copy(update={"profile": busy})) is None
    assert suggestion(faster()) is None


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_record_can_be_asked(kind):
    assert compiled(EVERY_KIND[kind]) == []
    suggestion(EVERY_KIND[kind])
