"""The command line as a user meets it: subprocesses, their output and their exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest

from autotune.config import TrainingConfig
from autotune.records import Status, load_run

TESTS = Path(__file__).parent
FILES = {"run.json", "trials.jsonl", "config.yaml", "report.md", "report.html", "trials.csv"}


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "autotune", *arguments]


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", **more}


def _autotune(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments),
        cwd=cwd,
        env=_environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def _run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return _autotune("run", "--device", "cpu", "--effective-batch", "2", "--budget", "8s", *arguments, cwd=cwd)


def test_help_loads_no_torch_and_no_pandas(tmp_path: Path) -> None:
    code = (
        "import sys, autotune, autotune.cli\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(autotune.cli.app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'pandas', 'numpy', 'pydantic', 'rich.progress'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=60)


def test_a_run_leaves_its_directory_and_prints_one_json_document(tmp_path: Path) -> None:
    done = _run("--model", "tiny:sleeper", "--no-profile", "--out", "here", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    config = document["recommendation"]["config"]
    assert set(config) == {"batch_size", "accumulation_steps", "precision", "channels_last", "cudnn_benchmark"}
    assert config["cudnn_benchmark"] is None
    assert config["batch_size"] * config["accumulation_steps"] == 2
    verdict = document["recommendation"]["verdict"]
    assert {"ratio", "low", "high"} <= set(verdict)
    # How fast this machine is decides nothing here: one that is too slow has no verdict, and says so.
    if verdict["kind"] == "not_measured":
        assert verdict["sentence"].startswith("No verdict: ")
    else:
        assert verdict["low"] <= verdict["ratio"] <= verdict["high"]
    for trial in document["trials"]:
        assert {"config", "outcome", "images_per_second", "peak_memory_bytes"} <= set(trial)
    assert {path.name for path in (tmp_path / "here").iterdir()} == FILES
    record = load_run(tmp_path / "here")
    assert record.status is Status.FINISHED
    assert record.recommendation is not None
    assert TrainingConfig.load(tmp_path / "here" / "config.yaml") == record.recommendation.config
    assert len(pandas.read_csv(tmp_path / "here" / "trials.csv")) == len(record.trials)


def test_a_run_that_measured_nothing_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for out in (("--out", "made"), ("--out", "mine"), ()):
        done = _run("--model", "tiny:not_a_module", "--no-profile", *out, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
    assert {path.name for path in tmp_path.rglob("*")} == {"mine", "autotune-runs"}


def test_a_second_run_gets_a_directory_of_its_own_and_never_overwrites(tmp_path: Path) -> None:
    for name in ("tiny-plain-cpu", "tiny-plain-cpu-2"):
        done = _run("--model", "tiny:plain", "--no-profile", "--budget", "1s", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"autotune-runs/{name}/" in done.stdout
    refused = _run("--model", "tiny:plain", "--out", "autotune-runs/tiny-plain-cpu", cwd=tmp_path)
    assert refused.returncode == 1
    assert "holds a run already" in refused.stderr
    assert "--force" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--model", "frcnn_mobilnet"), 2, "frcnn_mobilenet"),
        (("--model", "nowhere:factory"), 2, "nowhere"),
        (("--model", "frcnn_mobilenet", "--voc", "absent"), 2, "absent"),
        (("--model", "frcnn_mobilenet", "--data", "absent.json", "--images", "."), 2, "absent.json"),
        (("--model", "frcnn_mobilenet", "--data", "absent.json"), 2, "--images"),
        (("--model", "frcnn_mobilenet", "--weights", "absent.pt"), 2, "absent.pt"),
        (("--model", "frcnn_mobilenet", "--baseline", "absent.yaml"), 2, "absent.yaml"),
        (("--model", "frcnn_mobilenet", "--device", "tpu"), 2, "tpu"),
        (("--model", "frcnn_mobilenet", "--budget", "soon"), 2, "soon"),
        (("--model", "frcnn_mobilenet", "--knobs", "compile,warp"), 2, "knob 'warp': not one of"),
        (("--model", "frcnn_mobilenet", "--only", "precision=int8"), 2, "only precision=int8: not one of"),
        (("--model", "frcnn_mobilenet", "--only", "cudnn_benchmark=true"), 2, "cannot be used on this cpu"),
        (("--model", "frcnn_mobilenet", "--resume"), 2, "no run to resume"),
        (("--model", "frcnn_mobilenet", "--resume", "--force"), 2, "one of the two"),
        (("--model", "frcnn_mobilenet", "--objective", "energy"), 1, "choose --objective throughput or memory"),
        (("--model", "frcnn_mobilenet", "--out", "/proc/nowhere"), 1, "cannot be written"),
    ],
)
def test_a_mistake_gets_one_sentence_and_a_status(
    tmp_path: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    # The last of two equal options counts, so that a case may set its own budget or device.
    done = _autotune("run", "--device", "cpu", *arguments, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("autotune: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_grid_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "grid.json.gz").write_text("mine")
    done = _autotune("grid", "--model", "tiny:plain", "--out", "grid.json.gz", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "autotune: grid.json.gz: exists; pass --force to overwrite it, or another --out\n"
    assert (tmp_path / "grid.json.gz").read_text() == "mine"


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("here", "here: is a folder; name a file in it, or pass another --out"),
        ("/proc/grid.json", "/proc/grid.json: cannot be written (No such file or directory); pass another --out"),
    ],
)
def test_a_place_that_takes_no_grid_is_found_before_measuring(
    tmp_path: Path, place: str, sentence: str, force: tuple[str, ...]
) -> None:
    (tmp_path / "here").mkdir()
    # Where it was measured, the model's name would be the first to fail.
    done = _autotune("grid", "--model", "tiny:absent", "--device", "cpu", "--out", place, *force, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"autotune: {sentence}\n"
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]


def test_a_file_that_does_not_do_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "here" / "trials.jsonl").mkdir(parents=True)
    done = _run("--model", "tiny:plain", "--no-profile", "--out", "here", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("autotune: here/trials.jsonl: Is a directory; ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_sigterm_reports_what_was_measured_and_the_run_can_go_on(tmp_path: Path, by: signal.Signals) -> None:
    arguments = (
        "run",
        "--device",
        "cpu",
        "--model",
        "tiny:sleeper",
        "--no-profile",
        "--out",
        "here",
        "--budget",
        "60s",
    )
    process = subprocess.Popen(
        _command(*arguments),
        cwd=tmp_path,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _wait_for_lines(tmp_path / "here" / "trials.jsonl", 3, process)
    # As a terminal does: to the whole foreground group.
    os.killpg(process.pid, by)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "autotune: interrupted; `" in stderr
    assert "--resume` goes on from here" in stderr
    assert "Traceback" not in stderr
    assert "images/s" in stdout
    interrupted = load_run(tmp_path / "here")
    assert interrupted.status is Status.INTERRUPTED
    assert len(interrupted.trials) >= 2
    done = _autotune(*arguments, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = load_run(tmp_path / "here")
    assert record.status is Status.FINISHED
    assert record.trials[: len(interrupted.trials)] == interrupted.trials


def test_kill_9_loses_at_most_the_running_trial_and_leaves_no_process(tmp_path: Path) -> None:
    arguments = (
        "run",
        "--device",
        "cpu",
        "--model",
        "tiny:sleeper",
        "--no-profile",
        "--out",
        "here",
        "--budget",
        "60s",
    )
    process = subprocess.Popen(
        _command(*arguments), cwd=tmp_path, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journal = tmp_path / "here" / "trials.jsonl"
    _wait_for_lines(journal, 4, process)
    descendants = _descendants(process.pid)
    assert descendants, "the server and a trial"
    # A second run into the same directory refuses while the first is alive.
    second = _autotune(*arguments, "--resume", cwd=tmp_path)
    assert second.returncode == 1
    assert "another run" in second.stderr
    process.kill()
    process.wait(timeout=30)
    measured = len(journal.read_bytes().splitlines()) - 1
    _wait_until_gone(descendants)
    done = _autotune(*arguments, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = load_run(tmp_path / "here")
    assert record.status is Status.FINISHED
    assert len(record.trials) > measured


def test_models_lists_every_detector(tmp_path: Path) -> None:
    done = _autotune("models", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("frcnn_mobilenet", "ssd300_vgg16", "maskrcnn_resnet50", "fasterrcnn_resnet50_fpn_v2"):
        assert name in done.stdout


def test_doctor_says_what_is_here(tmp_path: Path) -> None:
    done = _autotune("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torchvision" in done.stdout


def _wait_for_lines(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if path.exists() and len(path.read_bytes().splitlines()) >= count:
            return
        assert process.poll() is None, "the run ended before it was caught"
        time.sleep(0.05)
    raise AssertionError(f"{path} did not grow to {count} lines")


def _descendants(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _wait_until_gone(pids: list[int]) -> None:
    import psutil

    for _ in range(400):
        alive = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        if not alive:
            return
        time.sleep(0.05)
    raise AssertionError(f"processes {alive} outlived the run")


def test_the_smallest_image_size_of_the_options_is_the_detectors() -> None:
    from typing import get_args

    from autotune.cli_options import ImageSize
    from autotune.detectors.input_size import SMALLEST_PX

    assert get_args(ImageSize)[1].min == SMALLEST_PX
