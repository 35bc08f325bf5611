"""The unprofiled steps beside a recording: rounds over the images of the recorded ones, and the step's time of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import pytest

from autotune.config import TrainingConfig
from autotune.probes.recording import METADATA
from autotune.profile_record import Ceilings, Profile
from autotune.records import Job, Machine, ModelSpec
from autotune.tuner.profiling import profile_job
from autotune.tuner.session import Server, StepAnswer
from exported import annotation, operator, save

CONFIG = TrainingConfig(batch_size=2, accumulation_steps=1)
# What the profiler makes of a step.
SLOWER = 1.5


class PlayedSession:
    """A child whose steps take what they are told to, by the number of the step and how often it ran."""

    def __init__(self, ms: Callable[[int, int], float]) -> None:
        self.ms = ms
        self.ran: list[int] = []
        self.recorded: list[int] = []

    def start(self, config: TrainingConfig) -> PlayedSession:
        return self

    def ceilings(self, machine: Machine, timeout_s: float) -> Ceilings:
        return Ceilings(ceilings=())

    def step(self, number: int, timeout_s: float) -> StepAnswer:
        self.ran.append(number)
        return StepAnswer(self.ms(number, self.ran.count(number) - 1), False, 0, 0, 0.0)

    def record(self, path: Path, numbers: Sequence[int], facts: dict[str, Any], timeout_s: float) -> None:
        events, clock = [], 0.0
        for number in numbers:
            self.recorded.append(number)
            took = 1000.0 * SLOWER * self.ms(number, 0)
            events += [annotation(f"ProfilerStep#{number}", clock, took), operator("aten::mul", clock, took)]
            clock += took
        save(path, *events, **{METADATA: facts})

    def cpu_s(self) -> float:
        return 0.0

    def close(self) -> None:
        pass


def test_on_a_gpu_the_first_step_on_an_image_size_is_not_timed(this_machine: Machine) -> None:
    """Nine seconds each for frcnn_resnet50 with cudnn.benchmark on an H200."""
    gpu = this_machine.model_copy(update={"device_type": "cuda"})
    session, profile = _profiled(gpu, lambda number, time: 100.0 if time else 9000.0)
    assert session.ran[:5] == [0, 0, 0, 1, 2]
    assert set(profile.step_samples_ms) == {100.0}


def _profiled(machine: Machine, ms: Callable[[int, int], float]) -> tuple[PlayedSession, Profile]:
    session = PlayedSession(ms)
    job = Job(model=ModelSpec(name="played"), device="cpu", effective_batch=2)
    return session, profile_job(cast(Server, session), job, machine, [CONFIG])


@pytest.mark.parametrize(
    ("step_ms", "rounds", "recorded"),
    [
        (5.0, 7, 3),  # 21 steps at most
        (250.0, 5, 3),  # of the 16 that fit into the time
        (500.0, 4, 2),
        (800.0, 5, 1),
        (2000.0, 3, 1),
        (60_000.0, 3, 1),
    ],
)
def test_the_steps_are_timed_in_whole_rounds_over_those_that_are_recorded(
    this_machine: Machine, step_ms: float, rounds: int, recorded: int
) -> None:
    session, profile = _profiled(this_machine, lambda number, time: step_ms)
    warm_up, timed = session.ran[:3], session.ran[3:]
    assert warm_up == [0, 0, 0]
    assert session.recorded == list(range(recorded))
    assert timed == rounds * session.recorded
    assert len(profile.step_samples_ms) == rounds * len(profile.profiled_step_ms)


def test_a_step_takes_the_mean_over_the_images_of_the_median_over_the_rounds(this_machine: Machine) -> None:
    """Images of several sizes, and one round that another process disturbed: neither the median of all (the middle
    image's time) nor their mean (the disturbance) is what the recorded steps take."""
    usual = {0: 100.0, 1: 200.0, 2: 900.0}

    def ms(number: int, time: int) -> float:
        # The first image has run three times before, to warm up.
        disturbed = time - (3 if number == 0 else 0) == 4
        return usual[number] * (20.0 if disturbed else 1.0)

    _, profile = _profiled(this_machine, ms)
    assert len(profile.step_samples_ms) == 21
    assert profile.step_ms == pytest.approx(fmean(usual.values()))
    # On the same images, so that the quotient is the profiler's alone.
    assert profile.inflation == pytest.approx(SLOWER)
    assert profile.busy_ms + profile.idle_ms == pytest.approx(SLOWER * profile.step_ms)


@pytest.mark.parametrize(
    ("samples", "profiled", "step_ms"),
    [
        ((10.0, 40.0, 12.0, 44.0, 11.0, 42.0), (20.0, 60.0), (11.0 + 42.0) / 2),
        ((10.0, 40.0, 11.0, 41.0), (20.0, 60.0), (10.5 + 40.5) / 2),
        ((10.0, 30.0, 20.0), (40.0,), 20.0),
        ((10.0, 30.0, 80.0), (1.0, 2.0, 3.0), 40.0),
        ((), (20.0, 60.0, 70.0), 50.0),  # a trace of another's
        ((10.0, 30.0), (1.0, 2.0, 3.0), 20.0),
    ],
)
def test_the_time_of_a_step_by_hand(samples: tuple[float, ...], profiled: tuple[float, ...], step_ms: float) -> None:
    profile = Profile(
        model="tiny", device="a device", device_type="cpu", step_samples_ms=samples, profiled_step_ms=profiled,
        busy_ms=1.0, idle_ms=0.0, coverage=1.0, layers=(), classes=(),
    )  # fmt: skip
    assert profile.step_ms == pytest.approx(step_ms)
    assert (profile.inflation is None) == (not samples)
