"""When a trial counts as warm, and when it is given up: decided on the times of its steps alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from autotune.config import TrainingConfig
from autotune.probes.device_state import StateProbe
from autotune.records import Compilation, Job, Machine, ModelSpec, Stage
from autotune.tuner.bench import LiveBench
from autotune.tuner.order import Order
from autotune.tuner.partial import Partial
from autotune.tuner.session import Server, StepAnswer
from records import CPU, FACTS, H200

CONFIG = TrainingConfig(batch_size=2, accumulation_steps=1)


class ScriptedSession:
    """Answers each step with the next time of a list, and with the last one for ever."""

    def __init__(self, *times_ms: float, compiles: Sequence[int] = ()) -> None:
        self.times_ms = list(times_ms)
        self.compiles = compiles
        self.seen: list[int | None] = []
        self.steps_taken = 0
        self.ordered_s = 0.0

    def step(self, number: int | None, timeout_s: float, *, watch_tensors: bool) -> StepAnswer:
        taken = self.times_ms[min(self.steps_taken, len(self.times_ms) - 1)]
        compiled = self.steps_taken in self.compiles
        self.steps_taken += 1
        self.seen.append(number)
        graphs = sum(step < self.steps_taken for step in self.compiles)
        compilation = Compilation(seconds=3.0, graphs=graphs, graph_breaks=0, recompilations=0)
        return StepAnswer(
            ms=taken,
            began_s=1.0,
            peak_memory_bytes=1,
            stalls=0,
            skipped=False,
            compiled=compiled,
            compilation=compilation if self.compiles else None,
        )


def _taken(
    *times_ms: float,
    give_up_ms: float | None = 40.0,
    rehearsals: int = 0,
    plans_kernels: bool = False,
    usual_worst_case_ms: float = 0.0,
) -> Partial:
    partial = Partial(rehearsals, plans_kernels=plans_kernels)
    partial.take(
        ScriptedSession(*times_ms),  # type: ignore[arg-type]
        Order(Stage.SETTINGS, CONFIG, range(3), give_up_ms=give_up_ms, usual_worst_case_ms=usual_worst_case_ms),
        StateProbe(CPU),
    )
    return partial


def test_a_config_is_not_given_up_while_its_steps_still_get_faster() -> None:
    taken = _taken(150.0, 90.0, 67.0, 31.0, 30.0)
    assert not taken.gave_up
    assert taken.warmup_ms == [150.0, 67.0, 31.0]
    assert taken.step_ms == [30.0, 30.0, 30.0]


def test_a_config_whose_settled_steps_are_too_slow_is_given_up() -> None:
    taken = _taken(150.0, 90.0, 80.0, 78.0)
    assert taken.gave_up
    assert taken.warmup_ms == [150.0, 80.0, 78.0]
    assert taken.step_ms == []


def test_a_first_timed_step_that_beats_the_warm_up_was_warm_up_too() -> None:
    taken = _taken(150.0, 90.0, 39.0, 30.0, 20.0, 20.0)
    assert taken.warmup_ms == [150.0, 39.0, 30.0, 20.0]
    assert taken.step_ms == [20.0, 20.0, 20.0]


def test_on_a_gpu_a_batch_is_timed_when_it_comes_for_the_second_time() -> None:
    # As recorded on an H200: frcnn_resnet50 in fp16, whose first step on an image size takes longer than fp32's.
    taken = _taken(1704.0, 601.0, 300.0, 500.0, 486.0, 299.0, 290.0, 295.0, give_up_ms=500.0, rehearsals=2)
    assert taken.rehearsal_ms == [500.0, 486.0]
    assert taken.step_ms == [299.0, 290.0, 295.0]
    assert taken.steps == [0, 1, 2]


@pytest.mark.parametrize(
    ("machine", "effective_batch", "steps", "rehearsals"),
    [
        pytest.param(H200, 16, 10, 3, id="the fifth batch is the first again"),
        pytest.param(H200, 16, 2, 1, id="fewer steps than batches"),
        pytest.param(H200, 64, 10, 0, id="every batch is the same"),
        pytest.param(H200, 12, 20, 15, id="sixteen batches until the images come round"),
        pytest.param(CPU, 16, 10, 0, id="a CPU plans next to nothing"),
    ],
)
def test_each_batch_is_met_once_before_it_is_timed(
    machine: Machine, effective_batch: int, steps: int, rehearsals: int
) -> None:
    job = Job(model=ModelSpec(name="x"), device=machine.device_type, effective_batch=effective_batch)
    bench = LiveBench(job, machine, None, 1.0, lambda progress: None)
    server = cast(Server, None)  # only asked for children
    bench.use(server, FACTS)
    assert FACTS.images_in_turn == 64
    assert bench.rehearsals(steps) == rehearsals


@pytest.mark.parametrize(
    ("times_ms", "said"),
    [
        pytest.param((14545.0, 7096.0, 162.0), "7.1 s", id="frcnn_mobilenet in bf16 and channels_last"),
        pytest.param((8407.0, 4082.0, 159.0), "4.1 s", id="frcnn_mobilenet in fp16"),
        pytest.param((33562.0, 16545.0, 374.0), "17 s", id="frcnn_resnet50 with cudnn.benchmark"),
    ],
)
def test_a_config_that_stalls_on_new_image_sizes_is_given_up_before_it_meets_a_third(
    times_ms: tuple[float, ...], said: str
) -> None:
    """As recorded on an H200."""
    taken = _taken(*times_ms, give_up_ms=1000.0, rehearsals=2, plans_kernels=True)
    assert taken.gave_up
    assert taken.rehearsal_ms == taken.step_ms == []
    assert (
        taken.remark == f"{said} for the first step on an image size, {times_ms[2] / 1000.0:.2g} s from the second on"
    )


def test_a_worst_case_that_takes_the_baseline_as_long_is_no_stall() -> None:
    times_ms = (1904.0, 2300.0, 185.0, 185.0)
    assert _taken(*times_ms, give_up_ms=400.0, plans_kernels=True, usual_worst_case_ms=400.0).gave_up
    assert not _taken(*times_ms, give_up_ms=400.0, plans_kernels=True, usual_worst_case_ms=900.0).gave_up


@pytest.mark.parametrize(
    ("times_ms", "give_up_ms", "plans_kernels"),
    [
        pytest.param((22000.0, 96.0, 75.0), 400.0, True, id="ssdlite320, of one size, compiles once"),
        pytest.param((20874.0, 59.0, 59.0), 400.0, True, id="ssd300 with cudnn.benchmark tries all once"),
        pytest.param((250.0, 190.0, 185.0, 7758.0, 185.0), 400.0, True, id="one slow step"),
        pytest.param((300.0, 300.0, 18.0, 300.0, 18.0), 400.0, True, id="stalls that matter little"),
        pytest.param((7377.0, 7601.0, 185.0, 7758.0, 179.0), None, True, id="in a race"),
        pytest.param((7377.0, 7601.0, 185.0), 400.0, False, id="a CPU plans next to nothing"),
    ],
)
def test_what_does_not_stall_on_every_new_size_is_timed_to_its_end(
    times_ms: tuple[float, ...], give_up_ms: float | None, plans_kernels: bool
) -> None:
    taken = _taken(*times_ms, give_up_ms=give_up_ms, rehearsals=2, plans_kernels=plans_kernels)
    assert not taken.gave_up
    assert taken.remark == ""
    assert len(taken.step_ms) == 3


def test_a_compiled_config_warms_up_on_every_step_that_it_is_timed_on() -> None:
    session = ScriptedSession(9000.0, 5000.0, 30.0, 2000.0, 30.0, compiles=(0, 1, 3))
    partial = Partial()
    order = Order(Stage.KNOBS, CONFIG.model_copy(update={"compile": True}), range(3), give_up_ms=40.0)
    partial.take(session, order, StateProbe(CPU))  # type: ignore[arg-type]
    assert session.seen == [0, None, 0, 1, 2, 0, 0, 1, 2]
    assert partial.step_ms == [30.0, 30.0, 30.0]
    assert partial.compilation == Compilation(seconds=3.0, graphs=3, graph_breaks=0, recompilations=0, timed_steps=0)


def test_a_timed_step_in_which_something_is_compiled_is_counted() -> None:
    session = ScriptedSession(9000.0, 5000.0, 30.0, compiles=(0, 1, 7, 8))
    partial = Partial()
    compiled = CONFIG.model_copy(update={"compile": True})
    partial.take(session, Order(Stage.KNOBS, compiled, range(3)), StateProbe(CPU))  # type: ignore[arg-type]
    assert partial.compilation is not None
    assert partial.compilation.timed_steps == 2
    # A child that is warm already counts what it compiles from here on alone.
    again = Partial()
    again.take(session, Order(Stage.RACE, compiled, range(3)), StateProbe(CPU))  # type: ignore[arg-type]
    assert again.compilation is not None
    assert again.compilation.timed_steps == 0
