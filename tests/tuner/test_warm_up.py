"""When a trial counts as warm, and when it is given up: decided on the times of its steps alone."""

from __future__ import annotations

from autotune.config import TrainingConfig
from autotune.probes.device_state import StateProbe
from autotune.records import Stage
from autotune.tuner.bench import Order, _Partial
from autotune.tuner.session import StepAnswer
from records import CPU

CONFIG = TrainingConfig(batch_size=2, accumulation_steps=1)


class ScriptedSession:
    """Answers each step with the next time of a list, and with the last one for ever."""

    def __init__(self, *times_ms: float) -> None:
        self.times_ms = list(times_ms)
        self.steps_taken = 0
        self.ordered_s = 0.0

    def step(self, number: int | None, timeout_s: float, *, watch_tensors: bool) -> StepAnswer:
        taken = self.times_ms[min(self.steps_taken, len(self.times_ms) - 1)]
        self.steps_taken += 1
        return StepAnswer(ms=taken, began_s=1.0, peak_memory_bytes=1, stalls=0, skipped=False)


def _taken(*times_ms: float, give_up_ms: float = 40.0) -> _Partial:
    partial = _Partial()
    partial.take(
        ScriptedSession(*times_ms),  # type: ignore[arg-type]
        Order(Stage.SETTINGS, CONFIG, range(3), give_up_ms=give_up_ms),
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
