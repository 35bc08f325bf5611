"""What to do about what bounds a step, each with the most that it could bring (Amdahl's law on the whole step)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from autotune.config import Precision, TrainingConfig
from autotune.profile_record import Advice, Bound, CeilingKind, Ceilings, Layer, Phase

__all__ = ["Situation", "advice_for"]

# What brings less than this at best is not worth a line.
_WORTH_SAYING = 1.02
# Grids that fill the device less often than this leave a share of it without work at their end.
_FEW_WAVES = 2.0
# On a CPU: operators shorter than this many of the smallest operator that there is.
_SHORT = 20.0


@dataclass(frozen=True)
class Situation:
    """What advice rests on: rows of one profiled step of busy_ms + idle_ms, and what the step runs with today."""

    layers: Sequence[Layer]
    busy_ms: float
    idle_ms: float
    ceilings: Ceilings
    config: TrainingConfig | None
    on_cpu: bool
    half_precision: bool

    def of(self, *bounds: Bound) -> list[Layer]:
        return [layer for layer in self.layers if layer.bound in bounds]


def advice_for(situation: Situation) -> tuple[Advice, ...]:
    """The knobs that can move each class, the most promising first.

    speedup_at_most is step / (step - what the knob could save at best): a bound, not a forecast; the tuner measures.
    """
    found = []
    for bound, knob, saved_ms, why in _savings(situation):
        step_ms = situation.busy_ms + situation.idle_ms
        most = step_ms / (step_ms - saved_ms) if saved_ms < step_ms else float("inf")
        if most >= _WORTH_SAYING:
            found.append(Advice(bound=bound, knob=knob, speedup_at_most=most, sentence=f"{why}."))
    return tuple(sorted(found, key=lambda each: -each.speedup_at_most))


_Saving = tuple[Bound, str, float, str]


def _savings(where: Situation) -> Iterator[_Saving]:
    """(class, knob, ms that it could save at best in one profiled step, why) for what the step does not use yet."""
    precision = where.config.precision if where.config else None
    in_full = precision in (None, Precision.DEFAULT, Precision.FP32, Precision.TF32)
    memory, compute, latency = (where.of(bound) for bound in (Bound.MEMORY, Bound.COMPUTE, Bound.LATENCY))
    if in_full and where.half_precision:
        yield Bound.MEMORY, "precision", sum(each.time_ms for each in memory) / 2, "if all bytes of its layers halve"
        half = _faster(where.ceilings, ("bf16", "fp16"))
        saved_ms = sum(each.time_ms * (1.0 - half(each)) for each in compute)
        yield Bound.COMPUTE, "precision", saved_ms, "at the rate that this machine reaches in half precision"
    if precision in (None, Precision.DEFAULT, Precision.FP32) and not where.on_cpu:
        tf32 = _faster(where.ceilings, ("tf32",))
        saved_ms = sum(each.time_ms * (1.0 - tf32(each)) for each in compute)
        yield Bound.COMPUTE, "precision tf32", saved_ms, "at the rate that this machine reaches in TF32"
    if where.config is None or not where.config.channels_last:
        saved_ms = sum(map(_above_floor, memory))
        yield Bound.MEMORY, "channels_last", saved_ms, "if its layers come down to the memory ceiling"
    saved_ms = sum(_above_floor(each) for each in latency if _small(each, where.ceilings))
    yield Bound.LATENCY, "batch_size", saved_ms, "if larger kernels bring its layers down to their ceilings"
    yield from _against_waiting(where, latency)


def _against_waiting(where: Situation, latency: Sequence[Layer]) -> Iterator[_Saving]:
    wait_ms = sum(each.host_wait_ms for each in where.layers)
    yield Bound.HOST, "batch_size", wait_ms, "if more images a launch leave the device no time to wait for Python"
    yield Bound.HOST, "compile", wait_ms, "if compiled code launches without Python in between"
    if not where.on_cpu:
        yield Bound.HOST, "cuda_graphs", wait_ms, "if the step is replayed as one graph"
    update = [each for each in where.layers if each.phase is Phase.OPTIMIZER]
    saved_ms = sum(each.host_wait_ms for each in update)
    saved_ms += sum(_above_floor(each) for each in update if each in latency)
    yield Bound.HOST, "fused_optimizer", saved_ms, "if the update becomes one kernel at its ceiling"


def _small(layer: Layer, ceilings: Ceilings) -> bool:
    """Whether the layer's kernels are so small that a larger batch could fill the device better. A large one that
    reaches neither ceiling is a slow kernel, and no knob makes it another."""
    if layer.waves is not None:
        return layer.waves < _FEW_WAVES
    launch_ms = 1000.0 * (ceilings.get(CeilingKind.LAUNCH) or 0.0)
    return layer.kernels > 0 and layer.time_ms / layer.kernels < _SHORT * launch_ms


def _above_floor(layer: Layer) -> float:
    """What the layer takes beyond the least that the ceilings allow, in ms."""
    return max(0.0, layer.time_ms - max(layer.compute_ms, layer.memory_ms))


def _faster(ceilings: Ceilings, precisions: Sequence[str]) -> Callable[[Layer], float]:
    """For a layer the share of its time that is left at the best of the precisions' ceilings; 1 where none helps."""

    def left(layer: Layer) -> float:
        kind, _, now = layer.arithmetic.partition(" ")
        if not now:
            return 1.0
        today = ceilings.get(CeilingKind(kind), now)
        best = max((ceilings.get(CeilingKind(kind), each) or 0.0 for each in precisions), default=0.0)
        return min(1.0, today / best) if today and best else 1.0

    return left
