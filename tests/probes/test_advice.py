"""Advice: each piece with a bound that follows from Amdahl's law, and none for what is in use or cannot help."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.probes.advice import advice_for
from autotune.profile_record import Advice, Bound, Ceiling, CeilingKind, Ceilings, Layer, Phase, Profile

CONFIG = TrainingConfig(
    batch_size=4, accumulation_steps=1, precision=Precision.DEFAULT, channels_last=False, cudnn_benchmark=False
)
CEILINGS = Ceilings(
    ceilings=(
        Ceiling(kind=CeilingKind.MATRIX, precision="fp32", samples=(50e12,)),
        Ceiling(kind=CeilingKind.MATRIX, precision="tf32", samples=(200e12,)),
        Ceiling(kind=CeilingKind.MATRIX, precision="bf16", samples=(500e12,)),
        Ceiling(kind=CeilingKind.LAUNCH, samples=(5e-6,)),
    )
)


def _layer(bound: Bound, time_ms: float, **more: Any) -> Layer:
    values = {
        "layer": "head", "phase": Phase.FORWARD, "time_ms": time_ms, "kernels": 10.0, "flops": 1e9, "bytes": 1e6,
        "compute_ms": 0.0, "memory_ms": 0.0, "idle_before_ms": 0.0, "host_wait_ms": 0.0, "modelled": 1.0,
        "arithmetic": "matrix fp32", "waves": 10.0, "bound": bound,
    }  # fmt: skip
    return Layer(**{**values, **more})


def _advice(
    *layers: Layer, config: TrainingConfig | None = CONFIG, on_cpu: bool = False, half_precision: bool = True
) -> list[Advice]:
    profile = Profile(
        model="tiny",
        config=config,
        device="a device",
        device_type="cpu" if on_cpu else "cuda",
        profiled_step_ms=(100.0,),
        busy_ms=sum(layer.time_ms for layer in layers),
        idle_ms=sum(layer.idle_before_ms for layer in layers),
        coverage=1.0,
        layers=layers,
        classes=(),
        ceilings=CEILINGS,
    )
    return list(advice_for(profile, half_precision=half_precision))


def _bounds(found: list[Advice], bound: Bound) -> dict[str, float]:
    return {each.knob: each.speedup_at_most for each in found if each.bound is bound}


def test_memory_bound_time_halves_at_most_with_the_bytes_and_comes_down_to_the_ceiling_at_most() -> None:
    found = _advice(_layer(Bound.MEMORY, 60.0, memory_ms=45.0), _layer(Bound.COMPUTE, 40.0, arithmetic="vector"))
    assert _bounds(found, Bound.MEMORY) == {
        "precision": pytest.approx(100.0 / 70.0),
        "channels_last": pytest.approx(100.0 / 85.0),
    }


def test_compute_bound_time_shrinks_by_what_this_machine_reaches_in_another_precision() -> None:
    found = _advice(_layer(Bound.COMPUTE, 50.0), _layer(Bound.MEMORY, 50.0, memory_ms=50.0))
    assert _bounds(found, Bound.COMPUTE) == {
        "precision": pytest.approx(100.0 / (50.0 + 50.0 / 10.0)),
        "precision tf32": pytest.approx(100.0 / (50.0 + 50.0 / 4.0)),
    }


def test_what_is_in_use_already_is_not_advised() -> None:
    half = CONFIG.model_copy(update={"precision": Precision.BF16, "channels_last": True})
    assert _advice(_layer(Bound.COMPUTE, 50.0), _layer(Bound.MEMORY, 50.0, memory_ms=40.0), config=half) == []


def test_a_processor_without_half_precision_is_not_advised_to_use_it() -> None:
    found = _advice(_layer(Bound.COMPUTE, 50.0), on_cpu=True, half_precision=False)
    assert found == []


def test_small_kernels_are_helped_by_a_larger_batch_and_slow_large_ones_by_nothing() -> None:
    small = _layer(Bound.LATENCY, 40.0, memory_ms=10.0, waves=0.5)
    slow = _layer(Bound.LATENCY, 60.0, memory_ms=10.0, waves=20.0)
    assert _bounds(_advice(small, slow), Bound.LATENCY) == {"batch_size": pytest.approx(100.0 / 70.0)}


def test_on_a_cpu_small_is_measured_by_the_smallest_operator() -> None:
    small = _layer(Bound.LATENCY, 0.5, kernels=10.0, waves=None)  # 50 us each, where the least is 5
    slow = _layer(Bound.LATENCY, 0.5, kernels=1.0, waves=None)
    found = _advice(small, slow, on_cpu=True, half_precision=False)
    assert _bounds(found, Bound.LATENCY) == {"batch_size": pytest.approx(2.0)}


def test_waiting_for_the_host_bounds_what_larger_batches_graphs_and_a_fused_update_can_bring() -> None:
    waiting = _layer(Bound.HOST, 30.0, memory_ms=30.0, idle_before_ms=50.0, host_wait_ms=50.0)
    update = _layer(
        Bound.LATENCY, 10.0, memory_ms=5.0, layer="(optimizer)", phase=Phase.OPTIMIZER, idle_before_ms=10.0,
        host_wait_ms=10.0,
    )  # fmt: skip
    assert _bounds(_advice(waiting, update), Bound.HOST) == {
        "batch_size": pytest.approx(100.0 / 40.0),
        "compile": pytest.approx(100.0 / 40.0),
        "cuda_graphs": pytest.approx(100.0 / 40.0),
        "fused_optimizer": pytest.approx(100.0 / 85.0),
    }


def test_what_brings_next_to_nothing_is_not_said_and_the_largest_comes_first() -> None:
    small = _layer(Bound.HOST, 1.0, idle_before_ms=1.5, host_wait_ms=1.5)
    found = _advice(_layer(Bound.MEMORY, 99.0, memory_ms=98.9), small)
    assert [each.knob for each in found] == ["precision"]
    many = _advice(_layer(Bound.COMPUTE, 50.0), _layer(Bound.MEMORY, 50.0, memory_ms=40.0))
    assert [each.speedup_at_most for each in many] == sorted((each.speedup_at_most for each in many), reverse=True)


def test_waiting_that_the_profiler_caused_is_not_there_to_be_saved() -> None:
    layer = _layer(Bound.HOST, 50.0, idle_before_ms=100.0, host_wait_ms=100.0)
    profile = Profile(
        model="tiny",
        config=CONFIG,
        device="a GPU",
        device_type="cuda",
        step_samples_ms=(75.0,),
        profiled_step_ms=(150.0,),
        busy_ms=50.0,
        idle_ms=100.0,
        coverage=1.0,
        layers=(layer,),
        classes=(),
    )
    assert profile.waiting_ms == 25.0
    assert profile.inflation == 2.0
    (first, *_) = advice_for(profile, half_precision=True)
    assert first.speedup_at_most == pytest.approx(75.0 / 50.0)
