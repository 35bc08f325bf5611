"""A bench that measures a surface: the true times with the noise of processes, steps and a drifting device."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import exp, inf
from statistics import fmean

from autotune.config import TrainingConfig
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.bench import step_timeout_s
from autotune.tuner.order import Order
from autotune.tuner.passes import batches_in_turn
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


@dataclass(frozen=True)
class _Taken:
    """What a trial took, in seconds. first_s: up to its first answer, which is waited for no longer than a step may
    take: the start, what is compiled, the first step; of a check of the numerics all of its steps."""

    first_s: float
    then_s: float = 0.0
    worst_case_s: float | None = None
    warmup_s: tuple[float, ...] = ()
    step_s: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    gave_up: bool = False


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
        a_step = surface.where.effective_batch
        self.batches_in_turn: int | None = surface.batches_in_turn or batches_in_turn(
            max(_IMAGES_IN_TURN, a_step), a_step
        )
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
        outcome, taken = self._surface.outcome(config), self._take(order, config)
        detail = "" if outcome is Outcome.OK else str(outcome)
        limit_s = step_timeout_s(order, self.remaining_s)
        if taken.first_s > limit_s:
            outcome, detail, taken = Outcome.TIMEOUT, f"no step ended within {limit_s:.1f} s", _Taken(limit_s)
        self._pass(taken.first_s + taken.then_s)
        return Trial.model_construct(
            number=self.trials,
            stage=order.stage,
            config=order.config,
            block=order.block,
            outcome=outcome,
            detail=detail,
            worst_case_ms=None if taken.worst_case_s is None else 1000.0 * taken.worst_case_s,
            warmup_ms=tuple(1000.0 * seconds for seconds in taken.warmup_s),
            step_ms=tuple(1000.0 * seconds for seconds in taken.step_s),
            steps=tuple(order.steps) if taken.step_s else (),
            peak_memory_bytes=self._surface.peak_bytes[config] if outcome is Outcome.OK else None,
            gave_up=taken.gave_up,
            losses=taken.losses,
            duration_s=taken.first_s + taken.then_s,
        )

    def _take(self, order: Order, config: TrainingConfig) -> _Taken:
        """What a trial takes if it is waited for."""
        compiling_s = self._surface.compiling_s.get(config, 0.0)
        start_s, step_s = self._surface.start_s + compiling_s, self._surface.step_s[config]
        if not self._surface.fits(config):
            return _Taken(start_s + _FAILED_SHARE * step_s / config.accumulation_steps)
        if not order.steps:
            worst_case_s = step_s * worst_case_share(config)
            return _Taken(start_s + worst_case_s, worst_case_s, worst_case_s)
        if order.stage is Stage.NUMERICS:
            return _Taken(start_s + len(order.steps) * step_s, losses=(1.0,) * len(order.steps))
        process_s = step_s * exp(self._wander) * self._start_process(config)
        worst_case_s = process_s * worst_case_share(config)
        warmup_s = [process_s * self._step_factor(order.steps.start) for _ in range(WARM_UP_STEPS - 1)]
        give_up_s = inf if order.give_up_ms is None else order.give_up_ms / 1000.0
        if warmup_s[-1] > give_up_s:
            # One slow step may be chance; the second decides.
            warmup_s.append(process_s * self._step_factor(order.steps.start))
        gave_up = warmup_s[-1] > give_up_s
        samples = () if gave_up else tuple(process_s * self._step_factor(step) for step in order.steps)
        rehearsed_s = 0.0 if self._as_a_rival else self.rehearsals(len(samples)) * process_s
        return _Taken(
            start_s + warmup_s[0],
            sum(warmup_s[1:]) + worst_case_s + rehearsed_s + sum(samples),
            worst_case_s,
            # The first step holds what is compiled.
            (compiling_s + warmup_s[0], *warmup_s[1:]),
            samples,
            gave_up=gave_up,
        )

    def time_ms(self, config: TrainingConfig, steps: int) -> tuple[float, ...] | None:
        """What a rival that knows no more than steps in a fresh process sees, however long they take; None where memory
        runs out."""
        self._as_a_rival = True
        trial = self.measure(Order(Stage.SETTINGS, config, range(steps), step_timeout_s=inf))
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
