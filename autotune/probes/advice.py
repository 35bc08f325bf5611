"""What to do about what bounds a step, each knob with the most that it could bring (Amdahl's law on the whole step)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from autotune.config import OptimizerImplementation, Precision
from autotune.profile_record import Advice, Bound, CeilingKind, Ceilings, Layer, Phase, Profile
from autotune.ranges import INPUTS

__all__ = ["advice_for"]

# Where a larger share of the busy time has no cost, nothing bounds what a knob could bring.
_UNMODELLED_AT_MOST = 0.8
# What brings less than this at best is not worth a line.
_WORTH_SAYING = 1.02
# A step of which less than this is left counts as this: nothing is infinitely faster.
_LEFT_AT_LEAST = 0.001
# Precisions that keep 32 bits in memory, None being what PyTorch does untouched; the last two have no TF32 to gain.
_FULL = (None, Precision.DEFAULT, Precision.FP32, Precision.TF32)
_WITHOUT_TF32 = (None, Precision.DEFAULT, Precision.FP32)
_HALF = ("bf16", "fp16")
_TENSOR_KINDS = (CeilingKind.MATRIX, CeilingKind.CONVOLUTION)


def advice_for(profile: Profile) -> tuple[Advice, ...]:
    """The knobs that the profiled config does not use, the most promising first.

    A layer that a knob can move comes down, at best, to what the ceilings would then allow for its FLOPs and bytes,
    whatever bounds it today; a wait that it can end, to nothing. So speedup_at_most is a bound, as true as the costs
    and the ceilings are, and no forecast: the tuner measures. Without ceilings there is no bound but of what ends waits
    or the whole update.
    """
    unmodelled_ms = sum(layer.time_ms * (1.0 - layer.modelled) for layer in profile.layers)
    if unmodelled_ms > _UNMODELLED_AT_MOST * profile.busy_ms:
        return ()
    step_ms = profile.busy_ms + profile.waiting_ms
    advice = []
    for saving in _savings(profile):
        saved_ms = sum(saving.ms.values())
        most = _speedup(step_ms, saved_ms)
        if most < _WORTH_SAYING:
            continue
        # Sums of the same numbers may differ in their last digit.
        same = None if saving.same_share_ms is None else _speedup(step_ms, min(saving.same_share_ms, saved_ms))
        advice.append(
            Advice(
                knob=saving.knob,
                value=saving.value,
                speedup_at_most=most,
                speedup_at_same_share=same,
                saved_ms=saving.ms,
                sentence=saving.sentence,
            )
        )
    return tuple(sorted(advice, key=lambda each: -each.speedup_at_most))


def _speedup(step_ms: float, saved_ms: float) -> float:
    return step_ms / max(step_ms - saved_ms, _LEFT_AT_LEAST * step_ms)


@dataclass
class _Saving:
    """ms: what a knob can save at best, by the class that it is saved in. same_share_ms: what it saves where each layer
    keeps the share of its ceiling that it reaches; None where the ceilings do not tell."""

    knob: str
    value: str
    sentence: str
    ms: dict[Bound, float] = field(default_factory=dict)
    same_share_ms: float | None = None

    def add(self, bound: Bound, saved_ms: float) -> None:
        if saved_ms > 0.0:
            self.ms[bound] = self.ms.get(bound, 0.0) + saved_ms


def _savings(profile: Profile) -> Iterator[_Saving]:
    network = [
        each for each in profile.layers if each.phase is not Phase.OPTIMIZER and each.bound is not Bound.COMMUNICATION
    ]
    if profile.ceilings and profile.ceilings.ceilings:
        yield from _towards_ceilings(profile, network)
    yield from _launching_less(profile)


def _towards_ceilings(profile: Profile, network: list[Layer]) -> Iterator[_Saving]:
    config, on_gpu = profile.config, profile.device_type == "cuda"
    precision = config.precision if config else None
    if precision in _FULL and (half := _half_precision(profile)):
        yield _in_precision(network, half, profile.ceilings, bytes_left=0.5)
    if precision in _WITHOUT_TF32 and on_gpu and _reaches(profile.ceilings, "tf32"):
        yield _in_precision(network, "tf32", profile.ceilings, bytes_left=1.0)
    if config is None or not config.channels_last:
        saving = _Saving("channels_last", "true", "if all layers came down to the machine's ceilings")
        yield _down_to(saving, network, lambda layer: layer.floor_ms)
    if on_gpu and (config is None or not config.cudnn_benchmark):
        sentence = "if its convolutions took no longer than their memory traffic; a loss where image sizes vary"
        saving = _Saving("cudnn_benchmark", "true", sentence)
        # No bound by multiplications: what it finds may do with fewer (Winograd, FFT).
        yield _down_to(saving, [each for each in network if _convolves(each)], lambda layer: layer.memory_ms)
    if config is None or config.accumulation_steps > 1:
        sentence = "if its layers came down to the ceilings, moved their weights once a step, and nothing waited"
        saving = _Saving("batch_size", "larger", sentence)
        batches = config.accumulation_steps if config else None
        yield _without_waits(_down_to(saving, network, lambda layer: _floor_in_one_batch(layer, batches)), network)
    if config is None or not config.compile:
        sentence = (
            "if nothing waited for Python, elementwise work were fused away and the rest came down to the ceilings"
        )
        saving = _Saving("compile", "true", sentence)
        _down_to(saving, network, lambda layer: 0.0 if _fusible(layer) else layer.floor_ms)
        saving.add(Bound.HOST, _after_ms(profile))
        yield _without_waits(saving, profile.layers)


def _launching_less(profile: Profile) -> Iterator[_Saving]:
    config = profile.config
    if profile.device_type == "cuda":
        graphs = _Saving("cuda_graphs", "true", "if the step were replayed as one graph, which wants fixed shapes")
        yield _without_waits(graphs, profile.layers)
    if config is None or config.optimizer_implementation is not OptimizerImplementation.FUSED:
        update = [each for each in profile.layers if each.phase is Phase.OPTIMIZER]
        fused = _Saving("optimizer", "fused", "if the whole update cost nothing")
        fused.add(Bound.HOST, _after_ms(profile))
        yield _without_waits(_down_to(fused, update, lambda layer: 0.0), update)


def _after_ms(profile: Profile) -> float:
    """On a CPU what comes after the step's last operator, the end of the update, stands in no layer."""
    return max(0.0, profile.host_ms - sum(each.host_wait_ms for each in profile.layers))


def _down_to(saving: _Saving, layers: list[Layer], floor_ms: Callable[[Layer], float]) -> _Saving:
    for layer in layers:
        saving.add(layer.work_bound, layer.time_ms - floor_ms(layer))
    return saving


def _without_waits(saving: _Saving, layers: list[Layer] | tuple[Layer, ...]) -> _Saving:
    for layer in layers:
        saving.add(Bound.HOST, layer.host_wait_ms)
        saving.add(Bound.LATENCY, layer.idle_before_ms - layer.host_wait_ms)
    return saving


def _in_precision(layers: list[Layer], precision: str, ceilings: Ceilings | None, *, bytes_left: float) -> _Saving:
    """bytes_left: the share of the bytes that is left to move."""
    rates = "half the bytes and half-precision rates" if bytes_left < 1.0 else "the rates of TF32"
    saving = _Saving("precision", precision, f"if all layers came down to the ceilings at {rates}")
    for layer in layers:
        memory_ms = bytes_left * layer.memory_ms
        compute_left = _compute_left(layer, precision, ceilings)
        # Another algorithm may do with fewer multiplications than are counted, in the other precision too.
        least_left = 0.0 if compute_left is None or layer.fewer_multiplications else compute_left
        floor_ms = max(layer.compute_ms, layer.memory_ms)
        # Where today's floor lies above the time, it is wrong by as much in the other precision.
        real = min(1.0, layer.time_ms / floor_ms) if floor_ms else 0.0
        saving.add(layer.work_bound, layer.time_ms - real * max(least_left * layer.compute_ms, memory_ms))
        if not floor_ms or (compute_left is None and layer.compute_ms):
            continue
        saving.same_share_ms = saving.same_share_ms or 0.0
        if layer.work_bound in (Bound.COMPUTE, Bound.MEMORY) and layer.bound is not Bound.HOST:
            left_ms = max((compute_left or 0.0) * layer.compute_ms, memory_ms)
            saving.same_share_ms += layer.time_ms * (1.0 - left_ms / floor_ms)
    return saving


def _compute_left(layer: Layer, precision: str, ceilings: Ceilings | None) -> float | None:
    """The share of the least time for a layer's FLOPs that another precision leaves; None where no ceiling tells."""
    _, _, now = layer.arithmetic.partition(" ")
    if not now:  # outside tensor cores half precision computes at most twice as fast (two numbers a register)
        return 0.5 if precision in _HALF else 1.0
    today, then = (_reaches(ceilings, each) for each in (now, precision))
    return min(1.0, today / then) if today and then else None


def _half_precision(profile: Profile) -> str | None:
    """The half precision that the device computes fastest in; None where none is faster than fp32.

    By its ceilings: a GPU without bf16 (V100, T4) has fp16. Where fp32's is not known, a GPU is taken to have bf16."""
    if not _reaches(profile.ceilings, "fp32"):
        return "bf16" if profile.device_type == "cuda" else None
    reached = {each: _reaches(profile.ceilings, each) or 0.0 for each in _HALF}
    best = max(_HALF, key=reached.__getitem__)
    return best if reached[best] > (_reaches(profile.ceilings, "fp32") or 0.0) else None


def _reaches(ceilings: Ceilings | None, precision: str) -> float | None:
    """FLOP/s of the units for a precision, whichever operator feeds them."""
    found = [ceilings.get(kind, precision) for kind in _TENSOR_KINDS] if ceilings else []
    return max((each for each in found if each), default=None)


def _floor_in_one_batch(layer: Layer, batches: int | None) -> float:
    """Layer.floor_ms if the step were one batch in place of so many. Of a layer on matrix units any part of the bytes
    may be its weights, which each batch moves anew; batches: None where nobody knows."""
    if batches == 1 or not layer.arithmetic.startswith(_TENSOR_KINDS):
        return layer.floor_ms
    memory_ms = layer.memory_ms / batches if batches else 0.0
    return memory_ms if layer.fewer_multiplications else max(layer.compute_ms, memory_ms)


def _fusible(layer: Layer) -> bool:
    """What only computes element by element, or moves data within the device."""
    return layer.arithmetic in ("", "vector") and not _convolves(layer) and layer.layer != INPUTS


def _convolves(layer: Layer) -> bool:
    """Rows without modules have the names of operators."""
    by_name = "Conv" in layer.module or layer.layer.startswith("aten::conv")
    return by_name or layer.arithmetic.startswith(CeilingKind.CONVOLUTION)
