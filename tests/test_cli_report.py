"""`autotune report` and `autotune compare` as a user meets them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from autotune.cli import app
from autotune.config import TrainingConfig
from records import EVERY_KIND, faster, profiled


def _call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return _saved(tmp_path / "run", profiled().to_json())


def _saved(directory: Path, text: str) -> Path:
    directory.mkdir()
    (directory / "run.json").write_text(text, encoding="utf-8")
    return directory


def test_the_page_is_written_beside_its_run(run: Path) -> None:
    for place in (run, run / "run.json"):
        done = _call("report", place, "--format", "html")
        assert done.exit_code == 0, done.stderr
        assert done.stdout == f"{run / 'report.html'}\n"
    assert (run / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("format", ["html", "md", "terminal", "csv", "json"])
def test_every_kind_of_run_is_drawn_in_every_format(tmp_path: Path, kind: str, format: str) -> None:
    run = _saved(tmp_path / "run", EVERY_KIND[kind].to_json())
    done = _call("report", run, "--format", format, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "out").stat().st_size > 0


def test_without_out_text_goes_to_stdout(run: Path) -> None:
    assert json.loads(_call("report", run, "--format", "json").stdout)["schema_version"] == 1
    assert _call("report", run).stdout.startswith("frcnn_mobilenet on NVIDIA H200")
    assert [path.name for path in run.iterdir()] == ["run.json"]


def test_nothing_is_overwritten_without_force(run: Path) -> None:
    (run / "report.html").write_text("mine")
    refused = _call("report", run, "--format", "html")
    assert refused.exit_code == 1
    assert "report.html: exists already; pass --force" in refused.stderr
    assert (run / "report.html").read_text() == "mine"
    assert _call("report", run, "--format", "html", "--force").exit_code == 0
    assert (run / "report.html").read_text() != "mine"


def test_open_shows_the_page_in_a_browser(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: shown.append(address) or True)
    assert _call("report", run, "--format", "html", "--open").exit_code == 0
    assert shown == [(run / "report.html").resolve().as_uri()]
    assert _call("report", run, "--open").exit_code == 2


def test_a_machine_without_a_browser_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    done = _call("report", run, "--format", "html", "--open")
    assert done.exit_code == 1
    assert "no browser can be started here" in done.stderr


@pytest.mark.parametrize("format", ["html", "terminal", "json"])
def test_drawing_a_report_loads_no_torch_and_no_plotly(run: Path, format: str) -> None:
    code = (
        "import sys, autotune.cli\n"
        "from typer.testing import CliRunner\n"
        f"done = CliRunner().invoke(autotune.cli.app, ['report', {str(run)!r}, '--format', {format!r}])\n"
        "assert done.exit_code == 0, done.output\n"
        "heavy = {'torch', 'torchvision', 'plotly'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def _broken(change: object) -> str:
    content = json.loads(profiled().to_json())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_broken(lambda run: run.update(schema_version=99)), "schema_version 99 is newer"),
        (profiled().to_json()[:5000], "not a run record: it is no JSON, or not all of it; give a run directory"),
        ("", "not a run record: it is no JSON"),
        ("# autotune: frcnn_mobilenet", "run.json: not a run record: it is no JSON"),
        (_broken(lambda run: run["trials"][1].update(step_ms="fast")), "trials.1.step_ms: "),
        (_broken(lambda run: run["trials"][1].update(step_ms=[0.0])), "trials.1.step_ms.0: "),
        (_broken(lambda run: run["trials"][1]["step_ms"].append(float("nan"))), "trials.1.step_ms.8: not a finite"),
        (_broken(lambda run: run["profile"]["layers"][3].update(flops=float("inf"))), "profile.layers.3.flops: not a"),
        (_broken(lambda run: run["profile"]["layers"][3].pop("time_ms")), "profile.layers.3.time_ms: Field required"),
        (_broken(lambda run: run["profile"].update(profiled_step_ms=[])), "profile.profiled_step_ms: "),
        (_broken(lambda run: run["profile"]["ceilings"]["ceilings"][0].update(samples=[])), "ceilings.0.samples: "),
        (_broken(lambda run: run.pop("status")), "status: Field required"),
        (_broken(lambda run: run.update(budget_s=1e999)), "budget_s: not a finite number"),
    ],
)
def test_a_bad_record_gets_one_sentence_that_names_the_field(tmp_path: Path, text: str, words: str) -> None:
    run = _saved(tmp_path / "run", text)
    (run / "report.html").write_text("mine")
    for arguments in (("report", run, "--format", "html", "--force"), ("compare", run, run)):
        done = _call(*arguments)
        assert done.exit_code == 1
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stdout == ""
    assert (run / "report.html").read_text() == "mine"


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "grid.json.gz").write_bytes(gzip.compress(b"{}"))
    done = _call("report", tmp_path / "grid.json.gz")
    assert done.exit_code == 1
    assert "grid.json.gz: not a run record: it is no text" in done.stderr


def test_a_run_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = _call("report", tmp_path / "absent", "--format", "html")
    assert done.exit_code == 1
    assert "give a run directory" in done.stderr


def test_runs_are_compared(tmp_path: Path) -> None:
    one, other = (_saved(tmp_path / name, faster().to_json()) for name in ("one", "other"))
    done = _call("compare", one, other)
    assert done.exit_code == 0, done.stderr
    assert f"{other} trains 1.00x [1.00, 1.00] as many images/s as {one}: no real difference." in done.stdout
    document = json.loads(_call("compare", one, other, "--format", "json").stdout)
    assert TrainingConfig.model_validate(json.loads(faster().to_json())["recommendation"]["config"]).label() in {
        run["config"] for run in document["runs"]
    }
    assert _call("compare", one, other, "--format", "md").stdout.startswith("# autotune")


def test_one_run_has_nothing_to_be_compared_with(run: Path) -> None:
    done = _call("compare", run)
    assert done.exit_code == 2
    assert "two runs at least" in done.stderr


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    one = _saved(tmp_path / "one", faster().to_json())
    for again in (one, one / "run.json", one / ".." / "one"):
        done = _call("compare", one, again)
        assert done.exit_code == 2
        assert "is given twice" in done.stderr
