"""A run that was killed in its race goes on from the journal."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from autotune.config import Circumstances, TrainingConfig
from autotune.records import DataSpec, Job, ModelSpec, RunRecord, Stage, Status
from autotune.tuner.bench import LiveBench
from autotune.tuner.journal import Journal
from autotune.tuner.order import Order
from autotune.tuner.request import Request
from autotune.tuner.run import run
from autotune.tuner.session import Server

CONFIG = TrainingConfig.baseline(Circumstances("cpu", tiny.EFFECTIVE_BATCH)).at_batch_size(60, tiny.EFFECTIVE_BATCH)


def test_a_trial_of_other_steps_than_are_asked_for_now_is_measured_anew(tiny_job: Job, tmp_path: Path) -> None:
    """What is left of the budget decides how many steps a block of the race has; a resumed run has less left."""
    path = tmp_path / "trials.jsonl"
    with Server("cpu") as server:
        server.prepare(tiny_job)

        def measure(steps: range) -> LiveBench:
            journal = Journal(path, tiny_job, server.machine, {}, resume=True)
            bench = LiveBench(tiny_job, server.machine, journal, 1e6, lambda progress: None)
            bench.use(server)
            bench.measure(Order(Stage.RACE, CONFIG, steps, block=0))
            journal.close()
            return bench

        first, same, other = measure(range(2)), measure(range(2)), measure(range(3))
        again = measure(range(3))
    assert same.trials[0] == first.trials[0]
    assert other.trials[0] != first.trials[0]
    assert other.trials[0].steps == (0, 1, 2)
    assert again.trials[0] == other.trials[0], "the newer one stands"


@pytest.mark.usefixtures("short_run")
def test_a_run_killed_in_its_race_keeps_what_it_measured(tiny_data: DataSpec, tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"

    def start(*, resume: bool) -> RunRecord:
        request = Request(
            model=ModelSpec(name="tiny:sleeper"),
            data=tiny_data,
            device="cpu",
            effective_batch=4,
            threads=1,
            budget_s=120.0,
        )
        return run(request, journal_path=path, resume=resume)

    whole = start(resume=False)
    race = [place for place, trial in enumerate(whole.trials) if trial.stage is Stage.RACE]
    # The journal's header, the trials up to two blocks of the race, and half of the third.
    cut = race[4] + 2
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:cut]) + lines[cut][:-9])
    resumed = start(resume=True)
    assert resumed.status is Status.FINISHED
    assert resumed.started == whole.started, "a run starts once"
    assert resumed.trials[: race[4]] == whole.trials[: race[4]]
    assert resumed.recommendation is not None
    assert len(resumed.recommendation.verdict.log_ratios) >= 3
