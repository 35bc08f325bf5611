"""What to do about what bounds a step, each with the most that it could bring (Amdahl's law on the whole step)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from autotune.config import Precision
from autotune.profile_record import Advice, Bound, CeilingKind, Ceilings, Layer, Phase, Profile

__all__ = ["advice_for"]

# What brings less than this at best is not worth a line.
_WORTH_SAYING = 1.02
# Grids that fill the device less often than this leave a share of it without work at their end.
_FEW_WAVES = 2.0
# On a CPU: operators shorter than this many of the smallest operator that there is.
_SHORT = 20.0
# Precisions that keep 32 bits in memory; the last has no TF32 to gain.
_FULL = (None, Precision.DEFAULT, Precision.FP32, Precision.TF32)


def advice_for(profile: Profile, *, half_precision: bool) -> tuple[Advice, ...]:
    """The knobs that can move each class, the most promising first.

    half_precision: the device has fast code for fp16 or bf16. speedup_at_most is step / (step - what the knob could
    save at best): a bound, not a forecast; the tuner measures.
    """
    step_ms = profile.busy_ms + profile.waiting_ms
    found = []
    for bound, knob, saved_ms, why in _savings(profile, half_precision):
        most = step_ms / (step_ms - saved_ms) if saved_ms < step_ms else float("inf")
        if most >= _WORTH_SAYING:
            found.append(Advice(bound=bound, knob=knob, speedup_at_most=most, sentence=f"{why}."))
    return tuple(sorted(found, key=lambda each: -each.speedup_at_most))


_Saving = tuple[Bound, str, float, str]


def _savings(profile: Profile, half_precision: bool) -> Iterator[_Saving]:
    """(class, knob, ms that it could save at best in one step, why) for what the step does not use yet."""
    config, ceilings = profile.config, profile.ceilings or Ceilings(ceilings=())
    precision = config.precision if config else None
    memory, compute, latency = (
        [layer for layer in profile.layers if layer.bound is bound]
        for bound in (Bound.MEMORY, Bound.COMPUTE, Bound.LATENCY)
    )
    if precision in _FULL and half_precision:
        yield Bound.MEMORY, "precision", sum(each.time_ms for each in memory) / 2, "if all bytes of its layers halve"
        half = _faster(ceilings, ("bf16", "fp16"))
        saved_ms = sum(each.time_ms * (1.0 - half(each)) for each in compute)
        yield Bound.COMPUTE, "precision", saved_ms, "at the rate that this machine reaches in half precision"
    if precision in _FULL[:-1] and profile.device_type != "cpu":
        tf32 = _faster(ceilings, ("tf32",))
        saved_ms = sum(each.time_ms * (1.0 - tf32(each)) for each in compute)
        yield Bound.COMPUTE, "precision tf32", saved_ms, "at the rate that this machine reaches in TF32"
    if config is None or not config.channels_last:
        saved_ms = sum(map(_above_floor, memory))
        yield Bound.MEMORY, "channels_last", saved_ms, "if its layers come down to the memory ceiling"
    saved_ms = sum(_above_floor(each) for each in latency if _small(each, ceilings))
    yield Bound.LATENCY, "batch_size", saved_ms, "if larger kernels bring its layers down to their ceilings"
    yield from _against_waiting(profile)


def _against_waiting(profile: Profile) -> Iterator[_Saving]:
    # What the profiler added to the waiting is not there to be saved.
    real = profile.waiting_ms / profile.idle_ms if profile.idle_ms else 0.0
    wait_ms = real * sum(each.host_wait_ms for each in profile.layers)
    yield Bound.HOST, "batch_size", wait_ms, "if more images a launch leave the device no time to wait for Python"
    yield Bound.HOST, "compile", wait_ms, "if compiled code launches without Python in between"
    if profile.device_type != "cpu":
        yield Bound.HOST, "cuda_graphs", wait_ms, "if the step is replayed as one graph"
    update = [each for each in profile.layers if each.phase is Phase.OPTIMIZER]
    saved_ms = real * sum(each.host_wait_ms for each in update)
    saved_ms += sum(_above_floor(each) for each in update if each.bound is Bound.LATENCY)
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
