"""Every report of every run that was recorded with the tool itself: tests/data/runs, on CPUs, and tests/data/h200."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from autotune.cli import app
from autotune.records import RunRecord, Status, load_run

RUNS = sorted(file.parent for file in (Path(__file__).parents[1] / "data").glob("*/*/run.json"))
FORMATS = ("terminal", "md", "html", "csv", "json")


@pytest.fixture(params=RUNS, ids=lambda path: path.name)
def run(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def record(run: Path) -> RunRecord:
    return load_run(run)


def _drawn(run: Path, format: str, folder: Path) -> str:
    """What `autotune report` writes."""
    file = folder / f"report.{format}"
    done = CliRunner().invoke(app, ["report", str(run), "--format", format, "--out", str(file)])
    assert done.exit_code == 0, done.output
    return file.read_text(encoding="utf-8")


def test_a_finished_run_an_interrupted_and_a_failed_one_and_a_profile_are_recorded() -> None:
    records = [load_run(run) for run in RUNS]
    assert {record.status for record in records if record.is_search} == set(Status)
    assert any(not record.is_search for record in records)


def test_the_verdict_is_the_first_that_markdown_and_terminal_say(run: Path, record: RunRecord, tmp_path: Path) -> None:
    model = record.workload.model
    title, _, first = _drawn(run, "md", tmp_path).splitlines()[:3]
    assert title.startswith(f"# autotune: {model} on ")
    assert first.startswith("**")
    text = _drawn(run, "terminal", tmp_path)
    assert text.startswith(f"{model} on ")
    if record.recommendation:
        sentence = record.recommendation.verdict.sentence
        assert sentence in text
        assert first.startswith(f"**{sentence}**")


def test_markdown_fits_a_comment_on_a_pull_request(run: Path, tmp_path: Path) -> None:
    # A folded part shows the line that it unfolds by.
    shown = re.sub(r"<details>.*?</details>", "folded", _drawn(run, "md", tmp_path), flags=re.DOTALL)
    assert len([line for line in shown.splitlines() if line]) < 60


def test_csv_round_trips_through_pandas(run: Path, record: RunRecord, tmp_path: Path) -> None:
    text = _drawn(run, "csv", tmp_path)
    frame = pd.read_csv(io.StringIO(text), dtype_backend="numpy_nullable")
    assert len(frame) == len(record.trials if record.is_search else record.profile.layers)
    assert frame.to_csv(index=False, lineterminator="\n") == text


def test_json_is_the_record(run: Path, record: RunRecord, tmp_path: Path) -> None:
    drawn = json.loads(_drawn(run, "json", tmp_path))
    recorded = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert drawn["status"] == record.status
    assert _within(recorded, drawn)


def _within(part: object, whole: object) -> bool:
    """Whether whole, which has computed fields too, says all that part says."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and _within(part[name], whole[name]) for name in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(_within, part, whole))
    return part == whole


def test_the_page_has_the_record_whole(run: Path, record: RunRecord, tmp_path: Path) -> None:
    page = _drawn(run, "html", tmp_path)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])
    assert len(data.get("trials", {}).get("rows", [])) == len(record.trials)
    assert len(data.get("layers", {}).get("rows", [])) == len(record.profile.layers if record.profile else ())


def test_no_report_loads_torch_nor_what_else_takes_long(tmp_path: Path) -> None:
    code = (
        "import sys, autotune.cli\n"
        "from typer.testing import CliRunner\n"
        "for number, (run, format) in enumerate((run, format) for run in sys.argv[2:] for format in "
        f"{FORMATS}):\n"
        "    arguments = ['report', run, '--format', format, '--out', f'{sys.argv[1]}/{number}']\n"
        "    done = CliRunner().invoke(autotune.cli.app, arguments)\n"
        "    assert done.exit_code == 0, done.output\n"
        "    heavy = {'torch', 'torchvision', 'plotly', 'pandas'} & set(sys.modules)\n"
        "    assert not heavy, (run, format, heavy)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path, *RUNS], check=True, timeout=120)
    assert len(list(tmp_path.iterdir())) == len(RUNS) * len(FORMATS)


def test_a_recorded_run_is_small_and_names_no_path_of_the_machine(run: Path) -> None:
    text = (run / "run.json").read_text(encoding="utf-8")
    assert {file.name for file in run.iterdir()} <= {"run.json", "trace.json.gz"}
    assert len(text) < 500_000
    assert not re.search(r'"(/|~|[A-Z]:\\)', text)
