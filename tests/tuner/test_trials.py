"""Every outcome of a trial, caused for real in a child process."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import pytest
import torch

import tiny
from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.records import Job, Outcome, Stage
from autotune.tuner.bench import LiveBench
from autotune.tuner.child import classify
from autotune.tuner.order import Order
from autotune.tuner.session import Server, TrialFailed

BASELINE = TrainingConfig.baseline(Circumstances("cpu", tiny.EFFECTIVE_BATCH))


def _order(batch_size: int, *, step_timeout_s: float = 30.0, keep: bool = False, steps: int = 3) -> Order:
    config = BASELINE.at_batch_size(batch_size, tiny.EFFECTIVE_BATCH)
    return Order(Stage.SETTINGS, config, range(steps), keep=keep, step_timeout_s=step_timeout_s)


def test_every_way_to_fail_has_its_outcome_and_hurts_no_other_trial(shared_bench: LiveBench) -> None:
    bench = shared_bench
    expected = {
        2: (Outcome.CRASHED, "SIGKILL"),
        3: (Outcome.CRASHED, "SIGSEGV"),
        4: (Outcome.CRASHED, "exit status 7"),
        10: (Outcome.OUT_OF_MEMORY, "memory"),
        1: (Outcome.NON_FINITE, "the loss is nan in step 0"),
        15: (Outcome.UNSUPPORTED, "not supported"),
        20: (Outcome.CRASHED, "ValueError: torch.float32, channels_last False"),
        5: (Outcome.CRASHED, "server ended"),
    }
    for batch_size, (outcome, words) in expected.items():
        trial = bench.measure(_order(batch_size))
        assert trial.outcome is outcome, trial
        assert words in trial.detail
        assert trial.step_ms == ()
        after = bench.measure(_order(60))
        assert after.outcome is Outcome.OK, after
        assert len(after.step_ms) == 3


def test_what_takes_more_than_is_to_stay_free_counts_as_out_of_memory(shared_bench: LiveBench) -> None:
    order = _order(60)
    peak_bytes = shared_bench.measure(order).peak_memory_bytes
    assert peak_bytes is not None
    trial = shared_bench.measure(replace(order, most_bytes=peak_bytes // 2, keep=True))
    assert trial.outcome is Outcome.OUT_OF_MEMORY
    assert "leaves too little for batches to come" in trial.detail
    after = shared_bench.measure(replace(order, most_bytes=2 * peak_bytes))
    assert after.outcome is Outcome.OK
    assert after.warmup_ms, "a child that took too much is not kept"


def test_a_label_that_the_model_has_no_class_for_is_said_to_be_one() -> None:
    scores = torch.zeros(2, 6)
    with pytest.raises(IndexError) as raised:
        torch.nn.functional.cross_entropy(scores, torch.tensor([1, 79]))
    outcome, detail = classify(raised.value)
    assert outcome is Outcome.CRASHED
    assert "Target 79 is out of bounds: the model has fewer classes than the data has labels" in detail
    assert "--data" in detail


def test_a_model_that_raises_shows_where_to_who_asks_for_it(
    tiny_job: Job, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOTUNE_DEBUG", "1")
    server = Server("cpu")
    bench = LiveBench(tiny_job, server.machine, None, 600.0, lambda progress: None)
    bench.use(server)
    try:
        server.prepare(tiny_job)
        assert bench.measure(_order(20)).outcome is Outcome.CRASHED
    finally:
        bench.close()
    shown = capfd.readouterr().err
    assert "Traceback" in shown
    assert "tiny.py" in shown


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", Outcome.OUT_OF_MEMORY),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", Outcome.OUT_OF_MEMORY),
        ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED", Outcome.UNSUPPORTED),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", Outcome.CRASHED),
    ],
)
def test_what_cudnn_says_is_understood(message: str, outcome: Outcome) -> None:
    assert classify(RuntimeError(message))[0] is outcome


def test_a_child_that_answers_nothing_is_ended_as_a_timeout(shared_bench: LiveBench) -> None:
    bench = shared_bench
    trial = bench.measure(_order(6, step_timeout_s=0.5))
    assert trial.outcome is Outcome.TIMEOUT
    assert "0.5 s" in trial.detail
    assert bench.measure(_order(60)).outcome is Outcome.OK


def test_the_steps_of_a_numerics_trial_have_their_time_together(shared_bench: LiveBench) -> None:
    sleeps = BASELINE.at_batch_size(6, tiny.EFFECTIVE_BATCH)
    trial = shared_bench.measure(Order(Stage.NUMERICS, sleeps, range(6), step_timeout_s=0.5))
    assert trial.outcome is Outcome.TIMEOUT
    assert trial.detail == "no 6 steps ended within 0.5 s"
    assert trial.duration_s < 3.0, "its start is not in it, and six times as long would be"


def test_a_child_that_reads_its_memory_back_from_disk_thrashes(
    shared_bench: LiveBench,
) -> None:
    trial = shared_bench.measure(_order(30))
    assert trial.outcome is Outcome.THRASH, trial
    assert "two consecutive steps" in trial.detail


def test_a_trial_keeps_its_samples_its_peak_memory_and_its_start(shared_bench: LiveBench) -> None:
    trial = shared_bench.measure(_order(60, steps=4))
    assert trial.steps == (0, 1, 2, 3)
    assert len(trial.step_ms) == 4
    assert all(ms > 0 for ms in trial.step_ms)
    assert trial.images_per_second == pytest.approx([60_000 / ms for ms in trial.step_ms])
    assert trial.worst_case_ms is not None
    assert len(trial.warmup_ms) >= 2, "the worst case and two more: three steps before the first timed one"
    assert trial.peak_memory_bytes is not None
    assert trial.peak_memory_bytes > 50e6, "a process with torch in it takes more than this"
    assert trial.startup_s is not None
    assert trial.state.cpu_load_by_others is not None


def test_peak_memory_counts_what_the_step_allocates(shared_bench: LiveBench) -> None:
    # At this batch size the step holds 200 MB for a moment.
    small, large = (shared_bench.measure(_order(size)).peak_memory_bytes for size in (60, 12))
    assert small is not None
    assert large is not None
    assert large - small == pytest.approx(200e6, rel=0.2)


def test_a_kept_child_goes_on_without_warming_up_again(shared_bench: LiveBench) -> None:
    bench = shared_bench
    first = bench.measure(_order(60, keep=True))
    second = bench.measure(_order(60, keep=True))
    assert first.startup_s is not None
    assert second.startup_s is None
    assert second.warmup_ms == ()
    bench.release(first.config)
    assert bench.measure(_order(60)).startup_s is not None


def test_a_child_that_was_kept_and_ended_with_its_server_is_started_anew(tiny_job: Job) -> None:
    server = Server("cpu")
    server.prepare(tiny_job)
    bench = LiveBench(tiny_job, server.machine, None, 1e6, lambda progress: None)
    bench.use(server)
    try:
        kept = bench.measure(_order(60, keep=True))
        os.kill(server._process.pid, signal.SIGKILL)
        server._process.wait()
        again = bench.measure(Order(Stage.RACE, kept.config, range(3), block=0))
    finally:
        bench.close()
    assert kept.outcome is Outcome.OK
    assert again.outcome is Outcome.OK, again.detail
    assert again.startup_s is not None, "a fresh child"


def test_a_config_far_behind_is_given_up_while_it_warms_up(shared_bench: LiveBench) -> None:
    order = _order(60)
    hopeless = Order(order.stage, order.config, order.steps, give_up_ms=1e-6)
    trial = shared_bench.measure(hopeless)
    assert trial.outcome is Outcome.OK
    assert trial.gave_up
    assert trial.step_ms == ()


def test_bf16_and_channels_last_reach_a_child_that_imports_nothing_again(shared_bench: LiveBench) -> None:
    config = BASELINE.at_batch_size(20, 60).model_copy(update={"precision": Precision.BF16, "channels_last": True})
    trial = shared_bench.measure(Order(Stage.SETTINGS, config, range(1)))
    assert trial.outcome is Outcome.CRASHED
    assert trial.detail == "ValueError: torch.bfloat16, channels_last True, torch imported by its parent"


def test_ending_the_server_ends_its_children(tiny_job: Job) -> None:
    with Server("cpu") as server:
        server.prepare(tiny_job)
        session = server.start(BASELINE)
        session.step(0, 30.0)
        assert _exists(session.pid)
    deadline = time.monotonic() + 10.0
    while _exists(session.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _exists(session.pid)
    with pytest.raises(TrialFailed):
        session.step(0, 1.0)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_memory_trial_takes_the_worst_case_alone(shared_bench: LiveBench) -> None:
    trial = shared_bench.measure(Order(Stage.MEMORY, BASELINE.at_batch_size(60, tiny.EFFECTIVE_BATCH), range(0)))
    assert trial.outcome is Outcome.OK
    assert trial.peak_memory_bytes
    assert trial.worst_case_ms
    assert trial.step_ms == trial.warmup_ms == trial.steps == ()


def test_a_numerics_trial_trains_with_updates_that_count_in_a_child_of_its_own(shared_bench: LiveBench) -> None:
    config = BASELINE.at_batch_size(60, tiny.EFFECTIVE_BATCH)
    first = shared_bench.measure(_order(60, keep=True))
    losses = [shared_bench.measure(Order(Stage.NUMERICS, config, range(4))).losses for _ in range(2)]
    assert len(losses[0]) == 4
    assert losses[0] == losses[1], "seeded, from the same weights"
    bf16 = config.model_copy(update={"precision": Precision.BF16})
    halved = shared_bench.measure(Order(Stage.NUMERICS, bf16, range(4))).losses
    assert halved != losses[0]
    assert halved == pytest.approx(losses[0], rel=0.05)
    again = shared_bench.measure(_order(60, keep=True))
    assert first.worst_case_ms is not None
    assert again.worst_case_ms is None, "the kept child is there still"
    shared_bench.release(config)
