"""A bench that measures a surface: the true times with the noise of processes, steps and a drifting device."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import exp, gcd
from statistics import fmean

from autotune.config import TrainingConfig
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.order import Order
from benchmarks.replay.surfaces import Surface

__all__ = ["WARM_UP_STEPS", "Noise", "ReplayBench", "worst_case_share"]

# autotune.workload.pool's, which imports torch.
_IMAGES_IN_TURN = 64
# A fresh process's steps before those that are timed: the first batch, the worst case, the first batch again.
WARM_UP_STEPS = 3
# Of a step that runs out of memory, the share that has passed.
_FAILED_SHARE = 0.5


@dataclass(frozen=True)
class Noise:
    """As ln of a ratio: process: standard deviation between processes; None for what the recorded ones differ by; step:
    between the steps of one, where none were recorded; drift: how far the device's speed wanders within _DRIFT_S."""

    process: float | None
    step: float = 0.01
    drift: float = 0.01


_DRIFT_S = 300.0


def worst_case_share(config: TrainingConfig) -> float:
    """Of a step, what the worst case takes: two micro-batches at the most."""
    return min(2, config.accumulation_steps) / config.accumulation_steps


class ReplayBench:
    """What a search measures on, and what that costs: a start, a warm-up and the steps, in seconds of the device."""

    keeps_sessions = False
    input_elements: int | None = None

    def __init__(self, surface: Surface, noise: Noise, seed: int, budget_s: float = 1e9) -> None:
        self.circumstances = surface.where
        self.memory_bytes: int | None = surface.memory_bytes
        self.seed = seed
        self.remaining_s = budget_s
        self.spent_s = 0.0
        self.trials = 0
        self._surface = surface
        self._noise = noise
        a_step, recorded = surface.where.effective_batch, surface.processes
        images = max(_IMAGES_IN_TURN, a_step)
        self.batches_in_turn: int | None = images // gcd(images, a_step)
        if recorded:
            # No other steps were recorded than these.
            self.batches_in_turn = max(len(process) for each in recorded.values() for process in each)
        self._draw = random.Random(f"{surface.name} {seed}")
        # Who times steps need not have met their images.
        self._as_a_rival = False
        self._wander = 0.0
        self._process: tuple[float, ...] | None = None

    def measure(self, order: Order) -> Trial:
        config = order.config
        if order.stage is Stage.NUMERICS:
            # --only may leave out the reference. Its losses are like all others here.
            config = self._surface.nearest(config)
        step_s = self._surface.step_s[config]
        start_s = self._surface.start_s + self._surface.compiling_s.get(config, 0.0)
        outcome = self._surface.outcome(config)
        fits = outcome is Outcome.OK
        gave_up = False
        samples: tuple[float, ...] = ()
        losses: tuple[float, ...] = ()
        if not fits:
            taken_s = start_s + _FAILED_SHARE * step_s / config.accumulation_steps
        elif not order.steps:
            taken_s = start_s + 2.0 * step_s * worst_case_share(config)
        elif order.stage is Stage.NUMERICS:
            taken_s = start_s + len(order.steps) * step_s
            losses = (1.0,) * len(order.steps)
        else:
            process_s = step_s * exp(self._wander) * self._start_process(config)
            warm_s = process_s * self._step_factor(order.steps.start)
            taken_s = start_s + (WARM_UP_STEPS - 1) * warm_s + process_s * worst_case_share(config)
            if order.give_up_ms is not None and 1000.0 * warm_s > order.give_up_ms:
                # One slow step may be chance; the second decides.
                warm_s = process_s * self._step_factor(order.steps.start)
                taken_s += warm_s
                gave_up = 1000.0 * warm_s > order.give_up_ms
            if not gave_up:
                samples = tuple(1000.0 * process_s * self._step_factor(step) for step in order.steps)
            rehearsed_s = 0.0 if self._as_a_rival or gave_up else self.rehearsals(len(samples)) * process_s
            taken_s += rehearsed_s + sum(samples) / 1000.0
        self._pass(taken_s)
        return Trial.model_construct(
            number=self.trials,
            stage=order.stage,
            config=order.config,
            block=order.block,
            outcome=outcome,
            detail="" if fits else str(outcome),
            worst_case_ms=1000.0 * step_s if fits else None,
            warmup_ms=(1000.0 * step_s,) * 2 if order.steps and fits and not losses else (),
            step_ms=samples,
            steps=tuple(order.steps) if samples else (),
            peak_memory_bytes=self._surface.peak_bytes[config] if fits else None,
            gave_up=gave_up,
            losses=losses,
            duration_s=taken_s,
        )

    def time_ms(self, config: TrainingConfig, steps: int) -> tuple[float, ...] | None:
        """What a rival that knows no more than steps in a fresh process sees; None where memory runs out."""
        self._as_a_rival = True
        trial = self.measure(Order(Stage.SETTINGS, config, range(steps)))
        return trial.step_ms if trial.outcome is Outcome.OK else None

    def peak_bytes(self, config: TrainingConfig) -> int:
        """What a rival reads from the allocator after a trial."""
        return self._surface.peak_bytes[config]

    def rehearsals(self, steps: int) -> int:
        """As the live bench's, with as many images in turn as synthetic data has."""
        if self.circumstances.on_cpu or not steps:
            return 0
        return min(steps, self.batches_in_turn or steps) - 1

    def release(self, config: TrainingConfig) -> None:
        """Nothing is kept."""

    def _start_process(self, config: TrainingConfig) -> float:
        """Draw a process of a config: by what its steps are longer than the config's."""
        recorded = self._surface.processes
        mean, self._process = 1.0, None
        if recorded:
            process = self._draw.choice(recorded[config])
            mean = fmean(process)
            self._process = tuple(factor / mean for factor in process)
        # At a named noise the recorded one lends no more than how its steps vary.
        return mean if self._noise.process is None else exp(self._draw.gauss(0.0, self._noise.process))

    def _step_factor(self, step: int) -> float:
        """How a step differs from its process's others: as recorded, where it was."""
        if self._process is not None and self._noise.step:
            return self._process[step % len(self._process)]
        return exp(self._draw.gauss(0.0, self._noise.step))

    def _pass(self, seconds: float) -> None:
        self.trials += 1
        self.spent_s += seconds
        self.remaining_s -= seconds
        # A stationary walk: what the device forgets in _DRIFT_S.
        kept = exp(-seconds / _DRIFT_S)
        self._wander = kept * self._wander + self._draw.gauss(0.0, self._noise.drift * (1.0 - kept**2) ** 0.5)
