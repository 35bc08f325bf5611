"""A bench whose speeds, memory and failures are known, for tests of decisions."""

from __future__ import annotations

import random
from collections.abc import Callable

from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.energy_record import Energy, EnergySource
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.cell_search import CellSearch
from autotune.tuner.order import Order
from autotune.tuner.search import Findings
from autotune.tuner.space import Space

CPU = Circumstances("cpu", 4, native_bf16=True)
GPU = Circumstances("cuda", 16, (9, 0), native_bf16=True)


class SimulatedBench:
    """Measures step_s(config) with log-normal noise on every step, and charges the budget as the real one does."""

    def __init__(
        self,
        where: Circumstances,
        step_s: Callable[[TrainingConfig], float],
        *,
        budget_s: float = 180.0,
        noise: float = 0.0,
        seed: int = 0,
        first_start_s: float = 0.0,
        start_s: Callable[[TrainingConfig], float] = lambda config: 0.0,
        fails: Callable[[TrainingConfig], Outcome] = lambda config: Outcome.OK,
        losses: Callable[[TrainingConfig], float] = lambda config: 2.0,
        memory_limit_bytes: int | None = None,
        memory_bytes: Callable[[TrainingConfig], int] = lambda config: 1000 * config.batch_size,
        watts: Callable[[TrainingConfig], float] | None = None,
        input_elements: int | None = None,
        largest_tensor_elements: Callable[[TrainingConfig], int] = lambda config: 0,
    ) -> None:
        self.circumstances = where
        self.seed = seed
        self.keeps_sessions = where.on_cpu
        self.batches_in_turn: int | None = None
        self.memory_bytes = memory_limit_bytes
        self.remaining_s = budget_s
        self.trials: list[Trial] = []
        self.alive: set[TrainingConfig] = set()
        self._step_s = step_s
        self._noise = noise
        self._first_start_s = first_start_s
        self._start_s = start_s
        self._dice = random.Random(seed)
        self._fails = fails
        self._losses = losses
        self._memory_bytes = memory_bytes
        self._watts = watts
        self.input_elements = input_elements
        self._largest_tensor_elements = largest_tensor_elements

    def measure(self, order: Order) -> Trial:
        config = order.config
        fresh = config not in self.alive or order.stage is Stage.NUMERICS
        outcome = self._fails(config)
        peak_bytes = self._memory_bytes(config)
        if outcome is Outcome.OK and order.most_bytes is not None and peak_bytes > order.most_bytes:
            outcome = Outcome.OUT_OF_MEMORY
        step_s = self._step_s(config)
        gave_up = order.give_up_ms is not None and 1000.0 * step_s > order.give_up_ms
        timed = outcome is Outcome.OK and not gave_up
        samples = tuple(1000.0 * step_s * self._dice.lognormvariate(0.0, self._noise) for _ in order.steps if timed)
        warm_up_s = 3 * step_s if order.steps else 2 * step_s / config.accumulation_steps
        if order.stage is Stage.NUMERICS:
            warm_up_s = 0.0
        duration_s = sum(samples) / 1000.0 + (0.3 + self._start_s(config) + warm_up_s if fresh else 0.0)
        if fresh and timed and order.stage is not Stage.NUMERICS:
            duration_s += self.rehearsals(len(order.steps)) * step_s
        if not self.trials:
            duration_s += self._first_start_s
        self.remaining_s -= duration_s
        losses: tuple[float, ...] = ()
        if order.stage is Stage.NUMERICS:
            losses, samples, timed = tuple(self._losses(config) for _ in order.steps), (), False
        if order.keep and self.keeps_sessions and outcome is Outcome.OK:
            self.alive.add(config)
        trial = Trial(
            number=len(self.trials) + 1,
            stage=order.stage,
            config=config,
            block=order.block,
            outcome=outcome,
            detail="" if outcome is Outcome.OK else "as the test wants it",
            worst_case_ms=1000.0 * step_s if fresh else None,
            warmup_ms=(1000.0 * step_s,) * 2 if fresh and order.steps else (),
            step_ms=samples,
            steps=tuple(order.steps) if timed else (),
            peak_memory_bytes=peak_bytes,
            predicted_peak_bytes=order.predicted_bytes,
            largest_tensor_elements=self._largest_tensor_elements(config) if order.watch_tensors else None,
            gave_up=gave_up,
            losses=losses,
            duration_s=duration_s,
            energy=self._energy(config, sum(samples) / 1000.0) if samples else None,
        )
        self.trials.append(trial)
        return trial

    def _energy(self, config: TrainingConfig, window_s: float) -> Energy | None:
        """By a counter that moves every 0.1 s and so is up to that behind at either end."""
        if self._watts is None:
            return None
        seen_s = window_s + 0.1 * (self._dice.random() - self._dice.random())
        if seen_s <= 0.0:
            return None
        return Energy(joules=self._watts(config) * seen_s, window_s=window_s, source=EnergySource.COUNTER, readings=2)

    def rehearsals(self, steps: int) -> int:
        """Each batch is new."""
        return 0 if self.circumstances.on_cpu or not steps else steps - 1

    def release(self, config: TrainingConfig) -> None:
        self.alive.discard(config)


def interacting_s(config: TrainingConfig) -> float:
    """bf16 is worth 2x, channels_last 1.3x with it and a loss without, small batches lose a little."""
    seconds = 1.0
    if config.precision is Precision.BF16:
        seconds /= 2.0 * (1.3 if config.channels_last else 1.0)
    elif config.channels_last:
        seconds *= 1.1
    return seconds * (1.0 + 0.1 * (config.accumulation_steps - 1))


def find(bench: SimulatedBench, **space: object) -> Findings:
    return CellSearch().run(bench, Space(bench.circumstances, **space))  # type: ignore[arg-type]
