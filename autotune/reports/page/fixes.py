"""The layers to fix first: those that stand furthest above the least time that the ceilings allow."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.profile_record import UNATTRIBUTED, Bound, Layer, Profile

__all__ = ["Fix", "first_to_fix"]

_SHOWN = 10
# What brings less to the step at best is not worth a line.
_WORTH_SAYING = 1.001
# A step of which less than this is left counts as this: nothing is infinitely faster.
_LEFT_AT_LEAST = 0.001
# Grids that fill the device this often are not small: the kernels themselves are slow.
_WAVES_OF_LARGE = 2.0
_SLOW_KERNELS = "other kernels: AMP, channels_last, cudnn.benchmark; fused operators"
_REMEDIES = {
    Bound.COMPUTE: "AMP or TF32",
    Bound.MEMORY: "AMP, channels_last, fused operators",
    Bound.LATENCY: "a larger batch, where its kernels are small; fused operators",
    Bound.HOST: "a larger batch, compile, CUDA graphs",
    Bound.COMMUNICATION: "fewer or overlapped exchanges between GPUs",
    Bound.UNMODELLED: "unknown: its operators have no cost, or the device no known ceilings",
}


@dataclass(frozen=True)
class Fix:
    """A layer and what it could bring.

    least_ms: at the ceilings, without waiting. saved_ms: time and waiting beyond that. speedup_at_most: Amdahl's bound
    on the whole step, step / (step - saved).
    """

    layer: Layer
    least_ms: float
    saved_ms: float
    speedup_at_most: float
    remedy: str


def first_to_fix(profile: Profile, limit: int = _SHOWN) -> list[Fix]:
    """At most limit layers, the one that could save most first; none that could save next to nothing."""
    fixes = (_fix(profile, layer) for layer in profile.layers if layer.layer != UNATTRIBUTED)
    return sorted((fix for fix in fixes if fix.speedup_at_most >= _WORTH_SAYING), key=lambda fix: -fix.saved_ms)[:limit]


def _fix(profile: Profile, layer: Layer) -> Fix:
    # Operators without a cost may be as fast as can be: their time is not counted as saved. Nor is any where no
    # ceiling says what the others could do.
    modelled_ms = layer.modelled * layer.time_ms if max(layer.compute_ms, layer.memory_ms) else 0.0
    saved_ms = max(0.0, modelled_ms - layer.floor_ms) + layer.idle_before_ms
    step_ms = profile.busy_ms + profile.waiting_ms
    left_ms = max(step_ms - saved_ms, _LEFT_AT_LEAST * step_ms)
    least_ms = max(0.0, layer.time_ms + layer.idle_before_ms - saved_ms)
    return Fix(layer, least_ms, saved_ms, step_ms / left_ms if left_ms else 1.0, _remedy(layer))


def _remedy(layer: Layer) -> str:
    if layer.bound is Bound.LATENCY and layer.waves is not None and layer.waves >= _WAVES_OF_LARGE:
        return _SLOW_KERNELS
    return _REMEDIES[layer.bound]
