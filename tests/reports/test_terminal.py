from __future__ import annotations

import re
import subprocess
import sys

import pytest

from autotune.records import Status
from autotune.reports import markdown, terminal
from autotune.reports.table import trials_table
from profiles import detector_profile, host_bound_profile
from records import FACTS, H200, disturbed, faster, interrupted, nothing_measured, profiled, run_record, tie


def test_every_kind_of_run_renders(any_record):
    text = terminal.render(any_record)
    assert any_record.job.model.name in text
    assert "nan" not in text.lower()
    assert "None" not in text


def test_the_verdict_and_what_to_do_stand_at_the_top():
    lines = terminal.render(faster()).splitlines()
    assert lines[2] == "bf16 + channels_last, batch 16: 2.31x [2.28, 2.34] faster than your baseline."
    assert lines[3] == "Train with bf16 + channels_last, batch 16: it peaked at 41.0 of 139.8 GiB."


def test_the_races_images_per_second_stand_beside_the_searchs():
    row = next(line for line in terminal.render(faster()).splitlines() if "recommended" in line)
    (figure,) = re.findall(r"2\.31x \((\S+)\)", row)
    assert float(figure) == pytest.approx(trials_table(faster())[1]["race_images_per_second"], rel=1e-3)


def test_a_legend_tells_what_a_rows_figures_are_taken_over():
    words = "images/s: median over optimizer steps; vs baseline: over the same images"
    table = terminal.render(faster()).split("vs baseline", 1)[1].split("\n\n", 1)[0]
    assert table.splitlines()[-1].startswith(f"{words}; race: the mean of ")
    assert f"{words}; race: the mean of " in markdown.render(faster())
    assert f"{words}.\n" in terminal.render(interrupted())
    cut_off = faster().model_copy(update={"status": Status.INTERRUPTED, "recommendation": None})
    assert f"{words}; race: the mean of those blocks beside the baseline that there was time for." in terminal.render(
        cut_off
    )
    assert words not in terminal.render(nothing_measured())


@pytest.mark.parametrize(("command", "words"), [(("--force",), "--resume in place of --force"), ((), "with --resume.")])
def test_an_interrupted_run_says_how_to_go_on(command, words):
    assert words in terminal.render(interrupted().model_copy(update={"command": command}))


def test_failures_are_listed_with_outcome_and_detail():
    text = terminal.render(faster())
    assert "- fp16, batch 16: non_finite: loss is inf at step 3" in text
    assert "- default, batch 8 x 2: crashed: killed by SIGSEGV last words: <b>core dumped</b>" in text


def test_what_was_left_out_is_listed_with_its_reason():
    text = terminal.render(faster())
    assert "- precision: fp16 diverged" in text
    assert "- 2 configs for want of budget, the race's share set aside: bf16 + channels_last, batch 8 x 2; " in text


def test_a_tie_keeps_the_baseline_and_notes_of_the_workload_are_shown():
    text = terminal.render(tie())
    assert "No real difference: fp32, batch 4" in text
    assert "Keep your baseline, fp32, batch 4: it peaked at 3.00 of 24.0 GiB." in text
    assert "- input reduced to 320 px" in text


def test_what_weakens_the_verdict_follows_it():
    text = terminal.render(disturbed())
    assert text.index("What weakens this:") < text.index("vs baseline")
    for words in ("interrupted before", "3 blocks only", "throttled: software power cap", "up to 2 at a time"):
        assert words in text


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (interrupted(), "No verdict: the run was interrupted. 2 of 2 trials gave a time."),
        (nothing_measured(), "No verdict: the run failed: no CUDA GPU. Nothing was measured."),
    ],
)
def test_a_run_without_a_verdict_says_why(record, sentence):
    assert sentence in terminal.render(record)


def test_a_profiled_run_says_where_its_step_spends_its_time_and_what_could_help():
    text = terminal.render(profiled())
    assert (
        "\n\nWhere a step of bf16 + channels_last, batch 16 spends its time: "
        "compute 46.5%, memory 21.6%, latency 13.3%, host 13.0%, unmodelled 1.3%.\n"
        "What could help most: at most 1.37x from compile=true (host 13.00 ms, memory 2.50 ms): if nothing waited"
    ) in text
    assert "1.18x" not in text
    assert "Where a step" not in terminal.render(faster())


def test_a_profiled_run_that_is_host_bound_says_so_before_the_classes():
    text = terminal.render(faster().model_copy(update={"profile": host_bound_profile()}))
    assert text.index("mostly host-bound") < text.index("Where a step of")
    assert "Where a step's time goes: " in terminal.render(
        faster().model_copy(update={"profile": detector_profile(config=None)})
    )


def test_a_name_cannot_move_the_cursor():
    record = run_record(workload=FACTS.model_copy(update={"model": "a\x1b[2Jb\u202ec\nd"}), machine=H200)
    first = terminal.render(record).splitlines()[0]
    assert first.startswith("a?[2Jb?c d on NVIDIA H200")


def test_reports_load_no_torch():
    code = (
        "import sys; from autotune.reports import terminal, markdown, trials_csv, table, profile_terminal, layers_csv;"
        "sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(("count", "words"), [(0, None), (1, "1 broken image or box"), (2, "2 broken images or boxes")])
def test_images_and_boxes_left_out_as_bad_are_counted(count, words):
    record = faster()
    record = record.model_copy(update={"workload": record.workload.model_copy(update={"skipped": count})})
    sentence = f"- {words} of the data (--skip-bad)"
    assert (sentence in terminal.render(record)) == (words is not None)
    assert ("--skip-bad" in terminal.render(record)) == (words is not None)
