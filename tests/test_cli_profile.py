"""`autotune profile` as a user meets it: its output, its files, its mistakes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pandas
import pytest

import exported
from autotune.profile_record import Ceilings
from autotune.records import load_run

TESTS = Path(__file__).parent
LAYER_COLUMNS = {"layer", "phase", "flops", "bytes", "time_ms", "bound", "compute_ratio", "memory_ratio"}


def _autotune(
    *arguments: str, cwd: Path, stdout: int | IO[bytes] = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autotune", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=240,
    )


def _profile(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return _autotune("profile", "--device", "cpu", "--effective-batch", "2", *arguments, cwd=cwd)


def test_a_profile_prints_one_json_document_and_leaves_its_files(tmp_path: Path, kept_ceilings: Ceilings) -> None:
    done = _profile("--model", "tiny:plain", "--out", "here", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {"step_ms", "coverage", "layers", "classes", "ceilings", "device"} <= set(document)
    assert document["coverage"] >= 0.99
    assert all(set(layer) >= LAYER_COLUMNS for layer in document["layers"])
    here = tmp_path / "here"
    assert {path.name for path in here.iterdir()} == {
        "run.json",
        "report.md",
        "report.html",
        "layers.csv",
        "trace.json.gz",
    }
    record = load_run(here)
    assert record.profile is not None
    assert len(pandas.read_csv(here / "layers.csv")) == len(record.profile.layers) == len(document["layers"])
    with gzip.open(here / "trace.json.gz") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert "layer:conv" in names
    # The report is drawn again from the record alone, and the trace analysed again from itself.
    report = _autotune("report", "here", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    table = _autotune("report", "here", "--format", "csv", cwd=tmp_path)
    assert table.stdout == (here / "layers.csv").read_text()
    again = _autotune("profile", "--trace", "here/trace.json.gz", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() in report.stdout
    # Analysed anew into its own directory it stays; beside the profile of another trace it would belong to none.
    (tmp_path / "other.json.gz").write_bytes((here / "trace.json.gz").read_bytes())
    for trace, stays in (("here/trace.json.gz", True), ("other.json.gz", False)):
        forced = _autotune("profile", "--trace", trace, "--out", "here", "--force", cwd=tmp_path)
        assert forced.returncode == 0, forced.stderr
        assert (here / "trace.json.gz").exists() == stays


def test_a_profile_that_measured_nothing_leaves_nothing(tmp_path: Path) -> None:
    refused = _profile("--model", "tiny:not_a_module", "--out", "here", cwd=tmp_path)
    assert refused.returncode == 2, refused.stderr
    assert not list(tmp_path.iterdir())


def test_a_profile_overwrites_nothing_unless_forced(tmp_path: Path, kept_ceilings: Ceilings) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "layers.csv").write_text("mine")
    refused = _profile("--model", "tiny:plain", "--out", "here", cwd=tmp_path)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert "--resume" not in refused.stderr  # which profile has not
    failed = _profile("--model", "tiny:always_raises", "--out", "here", "--force", cwd=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.startswith("autotune: tiny:always_raises: its training step cannot be profiled")
    assert len(failed.stderr.strip().splitlines()) == 1
    assert (here / "layers.csv").read_text() == "mine"
    assert [path.name for path in here.iterdir()] == ["layers.csv"]
    done = _profile("--model", "tiny:plain", "--out", "here", "--force", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "layer" in (here / "layers.csv").read_text()
    assert "here/: report.md, report.html, layers.csv, run.json, trace.json.gz" in done.stdout


def test_a_trace_recorded_elsewhere_gets_a_report_and_files_where_asked(traces: Path, tmp_path: Path) -> None:
    done = _autotune("profile", "--trace", str(traces / "v100_convnet_training.json.gz"), "--out", "v100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Tesla V100-SXM2-32GB" in done.stdout
    assert {path.name for path in (tmp_path / "v100").iterdir()} == {
        "run.json",
        "report.md",
        "report.html",
        "layers.csv",
    }
    assert _autotune("report", "v100", cwd=tmp_path).returncode == 0


def _event(**fields: Any) -> dict[str, Any]:
    return {"ph": "X", "pid": 1, "tid": 1, "ts": 1, "dur": 1, **fields}


WRONG: dict[str, bytes] = {
    "cut.json": json.dumps({"traceEvents": [exported.operator("aten::mul", 1, 2)] * 50}).encode()[:-90],
    "text.json": b"Lorem ipsum",
    "empty.json": b"",
    "chrome.json": json.dumps({"traceEvents": [_event(cat="devtools.timeline", name="Paint")]}).encode(),
    "other.json": json.dumps({"spans": []}).encode(),
    "still.json": json.dumps(
        {"traceEvents": [exported.operator("aten::mul", 1, 2), exported.annotation("ProfilerStep#0", 10, 5)]}
    ).encode(),
    "cut.json.gz": gzip.compress(json.dumps({"traceEvents": [exported.operator("aten::mul", 1, 2)] * 50}).encode())[
        :-9
    ],
}


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--out", "here")], ids=["report", "json", "kept"])
def test_a_standard_output_that_takes_no_more_is_one_sentence_and_the_files_stay(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    exported.save(tmp_path / "t.json", exported.operator("aten::mul", 1, 2))
    with Path("/dev/full").open("wb") as full:
        done = _autotune("profile", "--trace", "t.json", *arguments, cwd=tmp_path, stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("autotune: the standard output cannot be written (No space left on device); ")
    assert len(done.stderr.strip().splitlines()) == 1
    if "--out" in arguments:
        assert "the results are in here/" in done.stderr
        assert load_run(tmp_path / "here").profile is not None


@pytest.mark.parametrize("arguments", [("--help",), ("profile", "--help"), ("--version",)])
def test_a_help_that_cannot_be_written_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = _autotune(*arguments, cwd=tmp_path, stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("autotune: the standard output cannot be written (No space left on device)")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", WRONG)
def test_a_trace_that_does_not_do_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WRONG[name])
    done = _autotune("profile", "--trace", name, "--out", "here", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith(f"autotune: {name}: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--model"),
        (("--model", "frcnn_mobilenet", "--trace", "there.json"), "--model"),
        (("--trace", "absent.json"), "absent.json: does not exist"),
        (("--trace", ".", "--device", "cpu"), "leave out --device, or give --model"),
        (
            ("--trace", ".", "--seed", "0", "--skip-bad", "--data", "a.json", "--images", "."),
            "leave out --data, --images, --skip-bad, --seed, or",
        ),
        (
            ("--trace", ".", "--effective-batch", "2", "--optimizer", "adamw", "--config", "a.yaml"),
            "leave out --effective-batch, --optimizer, --config, or",
        ),
        (("--model", "frcnn_mobilnet"), "frcnn_mobilenet"),
        (("--model", "frcnn_mobilenet", "--config", "absent.yaml"), "absent.yaml"),
        (("--model", "frcnn_mobilenet", "--device", "tpu"), "tpu"),
        (("--model", "frcnn_mobilenet", "--data", "absent.json"), "--images"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_2(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = _autotune("profile", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--model", "tiny:plain", "--trace", "t.json"), "pass one of the two"),
        ((), "give --model to record a training step here, or --trace"),
        (("--trace", "."), ".: is a folder; pass the trace in it, as trace.json.gz"),
        (("--trace", "missing.json"), "missing.json: does not exist"),
    ],
)
def test_a_recording_or_a_trace_is_asked_for(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    refused = _autotune("profile", *arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
