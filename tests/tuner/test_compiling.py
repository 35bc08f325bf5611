"""torch.compile in real trials: what it took is in the record, and where it fails the run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from autotune.config import Circumstances, TrainingConfig
from autotune.records import DataSpec, Job, ModelSpec, Outcome, Stage
from autotune.tuner.bench import LiveBench, compiling_s, step_timeout_s
from autotune.tuner.order import Order
from autotune.tuner.session import Server

EAGER = TrainingConfig.baseline(Circumstances("cpu", 4))
COMPILED = EAGER.model_copy(update={"compile": True})
Benches = Callable[[str], AbstractContextManager[LiveBench]]


@pytest.fixture
def benches(tiny_data: DataSpec) -> Benches:
    @contextmanager
    def bench_of(factory: str) -> Iterator[LiveBench]:
        job = Job(model=ModelSpec(name=f"tiny:{factory}"), data=tiny_data, device="cpu", effective_batch=4, threads=1)
        server = Server("cpu")
        bench = LiveBench(job, server.machine, None, 600.0, lambda progress: None)
        bench.use(server)
        try:
            server.prepare(job)
            yield bench
        finally:
            bench.close()

    return bench_of


def test_a_compiled_trial_says_what_compiling_took_and_an_eager_one_nothing(
    benches: Benches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    order = Order(Stage.KNOBS, COMPILED, range(2), step_timeout_s=20.0, keep=True)
    with benches("compilable") as bench:
        first = bench.measure(order)
        assert first.outcome is Outcome.OK, first
        assert first.compilation is not None
        assert 0.0 < first.compilation.seconds < first.duration_s
        assert first.compilation.graphs >= 2, "forward and backward"
        assert first.compilation.graph_breaks >= 1, "it reads a value"
        assert first.compilation.recompilations >= 1, "images of other sizes"
        assert first.compilation.timed_steps == 0, "the warm-up has seen every size that is timed"
        # The same child goes on to batches that it has not seen, and whose value it has compiled for.
        later = bench.measure(Order(Stage.RACE, COMPILED, range(2, 4), block=8, step_timeout_s=20.0))
        assert later.compilation is not None
        assert later.compilation.timed_steps == 0
        eager = bench.measure(Order(Stage.KNOBS, EAGER, range(2)))
        assert eager.compilation is None
        assert list(tmp_path.glob("autotune-compiled-*/*")), "a run's own, so that no earlier one makes it look free"
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_it_is_an_unsupported_trial_with_its_reason(
    benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/no/such/compiler")
    with benches("compilable") as bench:
        trial = bench.measure(Order(Stage.KNOBS, COMPILED, range(2), step_timeout_s=60.0))
        assert trial.outcome is Outcome.UNSUPPORTED, trial
        assert trial.detail.startswith("torch.compile fails: ")
        assert bench.measure(Order(Stage.KNOBS, EAGER, range(2))).outcome is Outcome.OK


def test_a_compilation_that_does_not_end_in_time_is_a_timeout_that_says_so(benches: Benches) -> None:
    with benches("misbehaving") as bench:
        # Nothing is left for compiling beyond the step's own time.
        bench.budget_s = 0.0
        sleeps = COMPILED.model_copy(update={"batch_size": 6, "accumulation_steps": 1})
        trial = bench.measure(Order(Stage.KNOBS, sleeps, range(1), step_timeout_s=0.5))
    assert trial.outcome is Outcome.TIMEOUT, trial
    assert trial.detail == "no step ended within 0.5 s, compiling included; a larger --budget leaves it more time"


@pytest.mark.parametrize(
    ("remaining_s", "reserve_s", "allowed_s"),
    [(300.0, 100.0, 150.0), (90.0, 20.0, 60.0), (50.0, 20.0, 30.0), (10.0, 20.0, 0.0), (1e6, 100.0, 3600.0)],
)
def test_compiling_takes_nothing_of_what_is_kept_for_the_race(
    remaining_s: float, reserve_s: float, allowed_s: float
) -> None:
    assert compiling_s(remaining_s, reserve_s) == allowed_s


def test_what_is_kept_for_the_race_is_kept_for_its_own_sides() -> None:
    def allowed_s(stage: Stage) -> float:
        return step_timeout_s(Order(stage, COMPILED, range(3), step_timeout_s=20.0, reserve_s=500.0), 300.0)

    assert allowed_s(Stage.KNOBS) == 20.0
    assert allowed_s(Stage.HEATS) == allowed_s(Stage.RACE) == 20.0 + 150.0


def test_a_check_of_what_is_compiled_takes_no_more_than_it_is_given(benches: Benches) -> None:
    with benches("misbehaving") as bench:
        sleeps = COMPILED.model_copy(update={"batch_size": 6, "accumulation_steps": 1})
        trial = bench.measure(Order(Stage.NUMERICS, sleeps, range(6), step_timeout_s=0.5))
    assert trial.outcome is Outcome.TIMEOUT, trial
    assert trial.detail.startswith("no 6 steps ended within 0.5 s")


def test_a_run_that_is_killed_leaves_nothing_that_was_compiled(tmp_path: Path) -> None:
    code = (
        "import os, signal, tempfile\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "from autotune.tuner.session import Server\n"
        "server = Server('cpu')\n"
        "server._compiled.mkdir(exist_ok=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120, env=environment)
    assert done.returncode == -signal.SIGKILL
    # The server sees that its orderer is gone, and removes it a moment later.
    for _ in range(600):
        if not list(tmp_path.iterdir()):
            return
        time.sleep(0.1)
    raise AssertionError(list(tmp_path.iterdir()))
