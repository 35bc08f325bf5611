"""A bound that a real change beats is none: steps drawn at random, changed as far as each knob could."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.probes.advice import advice_for
from autotune.probes.roofline import bound_of
from autotune.profile_record import Advice, Bound, Ceiling, CeilingKind, Ceilings, Layer, Phase, Profile

VECTOR, COPY = 50e12, 3e12
RATES = {"fp32": 50e12, "tf32": 400e12, "bf16": 700e12, "fp16": 650e12}
FROM = {Precision.DEFAULT: ("matrix fp32", "convolution tf32"), Precision.FP32: ("matrix fp32", "convolution fp32")}


class Step(NamedTuple):
    """after_ms: what comes after the last operator, on a CPU. weights: of each layer's bytes the weights' share."""

    layers: tuple[Layer, ...]
    weights: tuple[float, ...]
    config: TrainingConfig
    on_gpu: bool
    after_ms: float

    @property
    def ms(self) -> float:
        return sum(each.time_ms + each.idle_before_ms for each in self.layers) + self.after_ms


def _layer(draw: random.Random, number: int, phase: Phase, arithmetics: tuple[str, ...], on_gpu: bool) -> Layer:
    arithmetic = draw.choice((*arithmetics, "vector", "")) if phase is not Phase.OPTIMIZER else "vector"
    rate = RATES.get(arithmetic.partition(" ")[2], VECTOR)
    flops = 10.0 ** draw.uniform(9, 13) if arithmetic else 0.0
    compute_ms, memory_ms = 1000.0 * flops / rate, 10.0 ** draw.uniform(-2, 2)
    # From somewhat above its ceiling, as caches let it be, to far below.
    time_ms = max(compute_ms, memory_ms) / draw.choice((1.3, 1.0, draw.uniform(0.01, 1.0)))
    waits_ms, modelled = draw.choice((0.0, draw.uniform(0.0, 3.0))) * time_ms, draw.choice((1.0, 1.0, 0.3))
    host_ms = waits_ms if not on_gpu else draw.choice((0.0, draw.random(), 1.0)) * waits_ms
    work_bound, _ = bound_of(time_ms, compute_ms, memory_ms, modelled=modelled)
    return Layer(
        layer=f"layer{number}",
        phase=phase,
        module="Conv2d" if arithmetic.startswith("convolution") else "",
        time_ms=time_ms,
        kernels=1.0,
        flops=flops,
        bytes=memory_ms * COPY / 1000.0,
        compute_ms=compute_ms,
        memory_ms=memory_ms,
        idle_before_ms=waits_ms,
        host_wait_ms=host_ms,
        modelled=modelled,
        arithmetic=arithmetic,
        bound=Bound.HOST if host_ms > time_ms else work_bound,
        work_bound=work_bound,
    )


def _step(seed: int) -> Step:
    draw = random.Random(seed)
    on_gpu = draw.random() < 0.6
    precision = draw.choice(tuple(FROM))
    arithmetics = FROM[precision] if on_gpu else FROM[Precision.FP32]
    phases = [draw.choice(tuple(Phase)) for _ in range(draw.randint(1, 6))]
    layers = tuple(_layer(draw, number, phase, arithmetics, on_gpu) for number, phase in enumerate(phases))
    config = TrainingConfig(
        batch_size=2,
        accumulation_steps=draw.choice((1, 2, 8)),
        precision=precision,
        channels_last=False,
        cudnn_benchmark=False if on_gpu else None,
    )
    after_ms = 0.0 if on_gpu else draw.uniform(0.0, 1.0) * sum(each.time_ms for each in layers)
    return Step(layers, tuple(draw.random() for _ in layers), config, on_gpu, after_ms)


def _advice(step: Step) -> dict[str, Advice]:
    rates = [(CeilingKind.MATRIX, name, rate) for name, rate in RATES.items()]
    kept = Ceilings(
        ceilings=tuple(
            Ceiling(kind=kind, precision=name, samples=(rate,))
            for kind, name, rate in [*rates, (CeilingKind.VECTOR, None, VECTOR), (CeilingKind.COPY, None, COPY)]
        )
    )
    profile = Profile(
        model="drawn",
        config=step.config,
        device="a device",
        device_type="cuda" if step.on_gpu else "cpu",
        profiled_step_ms=(step.ms,),
        busy_ms=sum(each.time_ms for each in step.layers),
        idle_ms=sum(each.idle_before_ms for each in step.layers) + step.after_ms,
        coverage=1.0,
        layers=step.layers,
        classes=(),
        ceilings=kept,
    )
    return {f"{each.knob} {each.value}": each for each in advice_for(profile)}


def _at_ceiling(layer: Layer, precision: str, share_of_bytes: float = 1.0) -> float:
    """The time of a layer that reaches its ceiling in a precision, worked out from its FLOPs and bytes."""
    if layer.arithmetic in ("vector", ""):
        rate = VECTOR * (2.0 if precision in ("bf16", "fp16") else 1.0)
    else:
        rate = RATES[precision or layer.arithmetic.partition(" ")[2]]
    moved = layer.bytes * (0.5 if precision in ("bf16", "fp16") else 1.0) * share_of_bytes
    return min(layer.time_ms, 1000.0 * max(layer.flops / rate, moved / COPY))


def _in(precision: str) -> Callable[[Step], float]:
    def changed(step: Step) -> float:
        """The network's layers at their ceilings; the waits as they are."""
        network = [each for each in step.layers if each.phase is not Phase.OPTIMIZER]
        return step.ms - sum(each.time_ms - _at_ceiling(each, precision) for each in network)

    return changed


def _one_batch(step: Step) -> float:
    """The weights of layers on matrix units are read once and not once a batch; the network waits for nothing."""
    left = step.ms
    for each, weights in zip(step.layers, step.weights, strict=True):
        if each.phase is not Phase.OPTIMIZER:
            on_units = each.arithmetic not in ("vector", "")
            share = 1.0 - weights + weights / step.config.accumulation_steps if on_units else 1.0
            left -= each.idle_before_ms + each.time_ms - _at_ceiling(each, "", share)
    return left


def _compiled(step: Step) -> float:
    """Nothing waits, elementwise work is in other kernels, and convolutions run in the layout that suits them."""
    left = 0.0
    for each in step.layers:
        if each.phase is Phase.OPTIMIZER:
            left += each.time_ms
        elif each.arithmetic not in ("vector", ""):
            left += _at_ceiling(each, "")
    return left


def _not_updating(step: Step) -> float:
    return sum(each.time_ms + each.idle_before_ms for each in step.layers if each.phase is not Phase.OPTIMIZER)


def _best_algorithms(step: Step) -> float:
    convolutions = [each for each in step.layers if each.module == "Conv2d" and each.phase is not Phase.OPTIMIZER]
    return step.ms - sum(max(0.0, each.time_ms - each.memory_ms) for each in convolutions)


CHANGES: dict[str, tuple[Callable[[Step], float], Callable[[Step], bool]]] = {
    "precision bf16": (_in("bf16"), lambda step: True),
    "precision tf32": (_in("tf32"), lambda step: step.on_gpu),
    "channels_last true": (_in(""), lambda step: True),
    "batch_size larger": (_one_batch, lambda step: step.config.accumulation_steps > 1),
    "compile true": (_compiled, lambda step: True),
    "cuda_graphs true": (lambda step: sum(each.time_ms for each in step.layers), lambda step: step.on_gpu),
    "optimizer fused": (_not_updating, lambda step: True),
    "cudnn_benchmark true": (_best_algorithms, lambda step: step.on_gpu),
}


@pytest.mark.parametrize("knob", CHANGES)
def test_no_change_that_the_ceilings_allow_is_faster_than_its_bound(knob: str) -> None:
    changed, applies = CHANGES[knob]
    reached = 0
    for seed in range(500):
        step = _step(seed)
        if not applies(step):
            continue
        found = _advice(step).get(knob)
        # What is not said brings less than 2%; and nothing is said to be more than a thousand times faster.
        most = found.speedup_at_most if found else 1.02
        left_ms = max(changed(step), step.ms / 1000.0)
        assert step.ms / left_ms <= most * (1.0 + 1e-9), (seed, step)
        reached += found is not None and step.ms / left_ms > 0.99 * most
    # A bound that nothing comes near would be easy to keep.
    assert reached > 20


def test_the_bound_is_never_below_what_the_same_share_brings() -> None:
    compared = 0
    for seed in range(2000):
        step = _step(seed)
        for knob, found in _advice(step).items():
            assert found.speedup_at_most >= 1.02
            assert sum(found.saved_ms.values()) <= step.ms * (1.0 + 1e-9)
            if found.speedup_at_same_share is not None:
                assert knob.startswith("precision ")
                assert found.speedup_at_most >= found.speedup_at_same_share >= 1.0, (seed, knob)
                compared += 1
    assert compared > 1000
