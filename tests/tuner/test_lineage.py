"""What is left of a run that is killed while its server builds the model or decodes the images: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_the_server_of_a_killed_run_ends_in_the_middle_of_what_it_does(tmp_path: Path) -> None:
    code = (
        "import tempfile\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "from autotune.records import Job, ModelSpec\n"
        "from autotune.tuner.session import Server\n"
        "server = Server('cpu')\n"
        "server._compiled.mkdir(exist_ok=True)\n"
        "print(server._process.pid, flush=True)\n"
        "server.prepare(Job(model=ModelSpec(name='tiny:orphaned'), device='cpu', effective_batch=2))\n"
    )
    _nothing_is_left_of(code, tmp_path)


def test_the_server_of_a_run_that_is_killed_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, tempfile\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "from autotune.tuner.session import Server\n"
        "def killed(server, what):\n"
        "    server._compiled.mkdir(exist_ok=True)\n"
        "    print(server._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Server._answer = killed\n"
        "Server('cpu')\n"
    )
    _nothing_is_left_of(code, tmp_path)


def _nothing_is_left_of(code: str, folder: Path) -> None:
    """Of a process that tells its server's number and is killed; folder: for what it writes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, timeout=120, env=environment, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    _wait_for_the_end_of(int(done.stdout))
    assert list(folder.iterdir()) == []


def _wait_for_the_end_of(server: int) -> None:
    for _ in range(600):
        if not psutil.pid_exists(server) or psutil.Process(server).status() == "zombie":
            return
        time.sleep(0.1)
    os.kill(server, signal.SIGKILL)
    raise AssertionError("the server outlived the run")


def test_a_server_that_is_told_to_end_twice_leaves_nothing(tmp_path: Path) -> None:
    """As a scheduler does: all of a job's processes get the signal, and the orderer's end brings one more."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from unittest.mock import patch\n"
        "from autotune.tuner import server\n"
        "compiled = Path(sys.argv[1])\n"
        "(compiled / 'kernels').mkdir(parents=True)\n"
        "served = server.TrialServer(None)\n"
        "served.children.add(os.fork() or signal.pause())\n"
        "signal.signal(signal.SIGTERM, lambda *_: served.abandon(compiled))\n"
        "killed = os.kill\n"
        "def twice(pid, signal_):\n"
        "    killed(os.getpid(), signal.SIGTERM)\n"
        "    killed(pid, signal_)\n"
        "with patch.object(os, 'kill', twice):\n"
        "    killed(os.getpid(), signal.SIGTERM)\n"
        "    signal.pause()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "compiled")],
        check=False,
        timeout=120,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert not (tmp_path / "compiled").exists()
