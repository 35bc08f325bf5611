"""Trials that were disturbed are measured again: real children beside the played NVML."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from ctypes import CDLL
from pathlib import Path

import pytest

import tiny
from autotune.config import Circumstances, TrainingConfig
from autotune.records import Job, Outcome, Stage
from autotune.tuner.bench import LiveBench, Progress
from autotune.tuner.journal import Journal
from autotune.tuner.order import Order
from autotune.tuner.session import Server

POWER_BRAKE = "0x80"
CONFIG = TrainingConfig.baseline(Circumstances("cpu", tiny.EFFECTIVE_BATCH)).at_batch_size(60, tiny.EFFECTIVE_BATCH)
ORDER = Order(Stage.SETTINGS, CONFIG, range(2))


@pytest.fixture(scope="module")
def server(tiny_job: Job) -> Iterator[Server]:
    with Server("cpu") as server:
        server.prepare(tiny_job)
        yield server


@pytest.fixture
def gpu_bench(server: Server, tiny_job: Job, nvml: CDLL, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LiveBench]:
    """A bench on a machine that says it is a GPU; its trials by their number are throttled, or in company."""
    machine = server.machine.model_copy(update={"device_type": "cuda", "device_uuid": "GPU-aaaa"})

    def make(
        *,
        throttled: tuple[int, ...] = (),
        company: tuple[int, ...] = (),
        budget_s: float = 1e6,
        journal: Path | None = None,
    ) -> LiveBench:
        def disturb(progress: Progress) -> None:
            number = progress.trials + 1
            monkeypatch.setenv("FAKE_CLOCK_EVENTS", POWER_BRAKE if number in throttled else "0")
            monkeypatch.setenv("FAKE_PIDS", str(os.getppid()) if number in company else "")

        kept = Journal(journal, tiny_job, machine, {}, resume=True) if journal else None
        bench = LiveBench(tiny_job, machine, kept, budget_s, disturb)
        bench.use(server)
        return bench

    return make


def test_a_throttled_trial_is_measured_once_more_and_the_clean_one_counts(gpu_bench: Callable[..., LiveBench]) -> None:
    bench = gpu_bench(throttled=(1,))
    answer = bench.measure(ORDER)
    first, again = bench.trials
    assert first.disturbances == {"power brake"}
    assert not first.repeated
    assert again.repeated
    assert answer == again
    assert answer.disturbances == frozenset()
    assert bench.spent_s == pytest.approx(first.duration_s + again.duration_s)


def test_so_is_one_beside_another_process(gpu_bench: Callable[..., LiveBench]) -> None:
    bench = gpu_bench(company=(1,))
    assert bench.measure(ORDER).repeated
    assert bench.trials[0].disturbances == {"another process on the GPU"}


def test_an_undisturbed_trial_is_not_repeated(gpu_bench: Callable[..., LiveBench]) -> None:
    bench = gpu_bench()
    bench.measure(ORDER)
    assert len(bench.trials) == 1


def test_what_a_repeat_does_not_get_rid_of_is_the_machines_usual_state(gpu_bench: Callable[..., LiveBench]) -> None:
    bench = gpu_bench(throttled=(1, 2, 3, 4), company=(4,))
    assert bench.measure(ORDER) == bench.trials[0], "a repeat as disturbed as the first is no better"
    assert len(bench.trials) == 2
    bench.measure(ORDER)
    assert len(bench.trials) == 3, "nothing more is repeated for it"
    answer = bench.measure(ORDER)
    assert len(bench.trials) == 5, "a neighbour is another matter"
    assert answer.disturbances == frozenset()


def test_a_stall_is_not_met_once_more(gpu_bench: Callable[..., LiveBench]) -> None:
    bench = gpu_bench(throttled=(1, 2))
    slow = bench.measure(ORDER).model_copy(update={"gave_up": True, "step_ms": (), "steps": ()})
    bench._usual = frozenset()
    assert bench._is_worth_repeating(slow, ORDER)
    assert not bench._is_worth_repeating(slow.model_copy(update={"detail": "9 s for each image size"}), ORDER)


@pytest.mark.parametrize("reserve_s", [0.0, 1e6])
def test_a_repeat_leaves_what_the_budget_is_needed_for(gpu_bench: Callable[..., LiveBench], reserve_s: float) -> None:
    bench = gpu_bench(throttled=(1,), budget_s=1000.0)
    bench.measure(Order(Stage.SETTINGS, CONFIG, range(2), reserve_s=reserve_s))
    assert len(bench.trials) == (2 if reserve_s == 0.0 else 1)


def test_both_stand_in_the_journal_and_a_resumed_run_takes_the_same_one(
    gpu_bench: Callable[..., LiveBench], tmp_path: Path
) -> None:
    path = tmp_path / "trials.jsonl"
    bench = gpu_bench(throttled=(1,), journal=path)
    answer = bench.measure(ORDER)
    assert bench._journal is not None
    bench._journal.close()
    assert len(path.read_bytes().splitlines()) == 3
    resumed = gpu_bench(journal=path)
    assert resumed.measure(ORDER) == answer
    assert resumed.trials == bench.trials
    assert resumed._journal is not None
    resumed._journal.close()
    assert len(path.read_bytes().splitlines()) == 3


def test_a_trial_that_crashes_is_not_repeated_for_its_company(gpu_bench: Callable[..., LiveBench]) -> None:
    bench = gpu_bench(company=(1,))
    crashing = CONFIG.at_batch_size(2, tiny.EFFECTIVE_BATCH)
    assert bench.measure(Order(Stage.SETTINGS, crashing, range(2))).outcome is Outcome.CRASHED
    assert len(bench.trials) == 1
