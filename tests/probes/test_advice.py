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
    )
)


def _layer(bound: Bound, time_ms: float, **more: Any) -> Layer:
    values = {
        "layer": "head", "phase": Phase.FORWARD, "time_ms": time_ms, "kernels": 10.0, "flops": 1e9, "bytes": 1e6,
        "compute_ms": 0.0, "memory_ms": 0.0, "idle_before_ms": 0.0, "host_wait_ms": 0.0, "modelled": 1.0,
        "arithmetic": "matrix fp32", "waves": 10.0, "bound": bound, "work_bound": bound,
    }  # fmt: skip
    return Layer(**{**values, **more})


def _advice(
    *layers: Layer,
    config: TrainingConfig | None = CONFIG,
    device_type: str = "cuda",
    ceilings: Ceilings = CEILINGS,
    after_ms: float = 0.0,
) -> dict[str, Advice]:
    """By knob and value. after_ms: the wait after the last operator."""
    profile = Profile(
        model="tiny",
        config=config,
        device="a device",
        device_type=device_type,
        profiled_step_ms=(100.0,),
        busy_ms=sum(layer.time_ms for layer in layers),
        idle_ms=sum(layer.idle_before_ms for layer in layers) + after_ms,
        coverage=1.0,
        layers=layers,
        classes=(),
        ceilings=ceilings,
    )
    return {f"{each.knob} {each.value}": each for each in advice_for(profile)}


def test_half_precision_brings_each_layer_down_to_half_the_bytes_and_the_faster_rate_at_best() -> None:
    found = _advice(
        _layer(Bound.MEMORY, 60.0, memory_ms=48.0, compute_ms=10.0), _layer(Bound.COMPUTE, 40.0, compute_ms=30.0)
    )["precision bf16"]
    # 24 ms for half the bytes; 3 ms at ten times the rate.
    assert found.speedup_at_most == pytest.approx(100.0 / (24.0 + 3.0))
    assert found.saved_ms == {Bound.MEMORY: pytest.approx(36.0), Bound.COMPUTE: pytest.approx(37.0)}
    assert found.bound is Bound.COMPUTE
    # At today's share of the ceilings: 60 * 24/48 and 40 * 3/30.
    assert found.speedup_at_same_share == pytest.approx(100.0 / (30.0 + 4.0))


def test_a_layer_that_no_ceiling_explains_bounds_what_a_precision_can_bring_and_promises_nothing() -> None:
    found = _advice(_layer(Bound.LATENCY, 100.0, memory_ms=20.0))["precision bf16"]
    assert found.speedup_at_most == pytest.approx(10.0)
    assert found.speedup_at_same_share == 1.0


def test_a_layer_above_its_ceiling_is_still_helped_by_half_the_bytes() -> None:
    found = _advice(_layer(Bound.MEMORY, 100.0, memory_ms=250.0))["precision bf16"]
    assert found.speedup_at_most == found.speedup_at_same_share == pytest.approx(2.0)


def test_tf32_leaves_the_bytes_as_they_are() -> None:
    found = _advice(_layer(Bound.COMPUTE, 100.0, compute_ms=80.0, memory_ms=40.0))
    assert found["precision tf32"].speedup_at_most == pytest.approx(100.0 / 40.0)
    assert found["precision bf16"].speedup_at_most == pytest.approx(100.0 / 20.0)


def test_a_gpu_of_fp16_alone_is_advised_to_use_it() -> None:
    v100 = Ceilings(
        ceilings=(
            Ceiling(kind=CeilingKind.MATRIX, precision="fp32", samples=(14e12,)),
            Ceiling(kind=CeilingKind.MATRIX, precision="fp16", samples=(98e12,)),
        )
    )
    found = _advice(_layer(Bound.COMPUTE, 100.0, compute_ms=70.0), ceilings=v100)
    assert found["precision fp16"].speedup_at_most == pytest.approx(10.0)
    assert "precision tf32" not in found


def test_a_processor_without_half_precision_is_not_advised_to_use_it() -> None:
    plain = Ceilings(ceilings=(Ceiling(kind=CeilingKind.MATRIX, precision="fp32", samples=(1e12,)),))
    found = _advice(_layer(Bound.COMPUTE, 50.0, compute_ms=50.0), device_type="cpu", ceilings=plain)
    assert found == {}


def test_what_is_in_use_already_is_not_advised() -> None:
    update = {"precision": Precision.BF16, "channels_last": True, "cudnn_benchmark": True}
    tuned = CONFIG.model_copy(update=update)
    layers = _layer(Bound.COMPUTE, 50.0, compute_ms=50.0), _layer(Bound.MEMORY, 50.0, memory_ms=50.0)
    assert _advice(*layers, config=tuned) == {}


def test_channels_last_can_bring_layers_of_every_class_down_to_their_ceilings() -> None:
    found = _advice(_layer(Bound.LATENCY, 50.0, memory_ms=10.0), _layer(Bound.MEMORY, 50.0, memory_ms=40.0))
    assert found["channels_last true"].speedup_at_most == pytest.approx(2.0)
    assert found["channels_last true"].speedup_at_same_share is None


def test_the_choice_of_algorithms_moves_convolutions_alone_and_these_to_their_bytes() -> None:
    convolution = _layer(Bound.COMPUTE, 50.0, arithmetic="convolution tf32", compute_ms=50.0, memory_ms=10.0)
    found = _advice(convolution, _layer(Bound.COMPUTE, 50.0))
    assert found["cudnn_benchmark true"].speedup_at_most == pytest.approx(100.0 / 60.0)
    assert "cudnn_benchmark true" not in _advice(convolution, device_type="cpu")


def test_a_larger_batch_is_advised_where_the_effective_batch_has_room_for_it_and_only_there() -> None:
    layer = _layer(Bound.LATENCY, 40.0, memory_ms=10.0, idle_before_ms=60.0, host_wait_ms=40.0)
    assert "batch_size larger" not in _advice(layer)
    split = CONFIG.model_copy(update={"batch_size": 2, "accumulation_steps": 2})
    found = _advice(layer, config=split)["batch_size larger"]
    # The bytes may all be weights, which one batch moves once and two move twice.
    assert found.speedup_at_most == pytest.approx(100.0 / 5.0)
    assert found.saved_ms == {Bound.LATENCY: pytest.approx(55.0), Bound.HOST: pytest.approx(40.0)}
    activations = layer.model_copy(update={"arithmetic": "vector"})
    assert _advice(activations, config=split)["batch_size larger"].speedup_at_most == pytest.approx(100.0 / 10.0)


def test_waiting_bounds_what_graphs_and_a_fused_update_can_bring() -> None:
    waiting = _layer(Bound.HOST, 30.0, memory_ms=30.0, idle_before_ms=50.0, host_wait_ms=50.0, work_bound=Bound.MEMORY)
    update = _layer(
        Bound.LATENCY, 10.0, memory_ms=5.0, layer="(optimizer)", phase=Phase.OPTIMIZER, idle_before_ms=10.0,
        host_wait_ms=10.0,
    )  # fmt: skip
    found = _advice(waiting, update)
    assert found["cuda_graphs true"].speedup_at_most == pytest.approx(100.0 / 40.0)
    assert found["compile true"].speedup_at_most == pytest.approx(100.0 / 40.0)
    assert found["optimizer fused"].speedup_at_most == pytest.approx(100.0 / 80.0)
    # What a host-bound layer computes is not lost to the other knobs.
    assert found["precision bf16"].saved_ms == {Bound.MEMORY: pytest.approx(15.0)}
    assert found["precision bf16"].speedup_at_same_share == 1.0


def test_fused_code_can_make_elementwise_layers_vanish_and_brings_a_convolution_to_its_ceiling() -> None:
    found = _advice(
        _layer(Bound.MEMORY, 20.0, arithmetic="vector", module="BatchNorm2d", memory_ms=20.0),
        _layer(Bound.MEMORY, 10.0, arithmetic="", layer="neck", flops=0.0, memory_ms=10.0),  # pads and joins
        _layer(Bound.MEMORY, 10.0, arithmetic="", layer="(inputs)", flops=0.0, memory_ms=10.0),
        _layer(Bound.MEMORY, 20.0, arithmetic="vector", module="Conv2d", memory_ms=20.0),
        _layer(Bound.LATENCY, 40.0, arithmetic="convolution tf32", module="Conv2d", memory_ms=15.0, compute_ms=10.0),
    )
    assert found["compile true"].speedup_at_most == pytest.approx(100.0 / (10.0 + 20.0 + 15.0))


def test_a_trace_without_layers_has_its_convolutions_by_their_operators_names() -> None:
    depthwise = _layer(Bound.LATENCY, 100.0, layer="aten::conv2d", arithmetic="vector", memory_ms=50.0)
    found = _advice(depthwise, config=None)
    assert found["cudnn_benchmark true"].speedup_at_most == pytest.approx(2.0)
    assert found["compile true"].speedup_at_most == pytest.approx(2.0)


def test_on_a_processor_the_wait_after_the_last_operator_can_end_too() -> None:
    layer = _layer(Bound.MEMORY, 60.0, memory_ms=60.0, idle_before_ms=10.0, host_wait_ms=10.0)
    found = _advice(layer, device_type="cpu", after_ms=30.0)
    assert found["compile true"].speedup_at_most == pytest.approx(100.0 / 60.0)
    assert found["compile true"].saved_ms == {Bound.HOST: pytest.approx(40.0)}
    assert found["optimizer fused"].speedup_at_most == pytest.approx(100.0 / 70.0)


def test_fewer_multiplications_than_are_counted_leave_the_bytes_alone_as_a_floor() -> None:
    winograd = _layer(
        Bound.COMPUTE, 100.0, arithmetic="convolution fp32", compute_ms=90.0, memory_ms=10.0, fewer_multiplications=True
    )
    found = _advice(winograd)
    assert found["channels_last true"].speedup_at_most == pytest.approx(10.0)
    assert found["precision bf16"].speedup_at_most == pytest.approx(20.0)
    assert found["precision bf16"].speedup_at_same_share == pytest.approx(10.0)


def test_a_precision_whose_rate_nobody_knows_is_bounded_by_its_bytes_and_promises_nothing() -> None:
    unknown = Ceilings(ceilings=(Ceiling(kind=CeilingKind.MATRIX, precision="tf32", samples=(200e12,)),))
    layer = _layer(Bound.COMPUTE, 100.0, arithmetic="matrix tf32", compute_ms=80.0, memory_ms=20.0)
    found = _advice(layer, ceilings=unknown)["precision bf16"]
    assert found.speedup_at_most == pytest.approx(10.0)
    assert found.speedup_at_same_share is None


def test_without_ceilings_nothing_bounds_but_what_ends_waits_or_the_update() -> None:
    layer = _layer(Bound.UNMODELLED, 60.0, idle_before_ms=20.0, host_wait_ms=20.0)
    update = _layer(Bound.UNMODELLED, 20.0, layer="(optimizer)", phase=Phase.OPTIMIZER)
    found = _advice(layer, update, config=None, ceilings=Ceilings(ceilings=()))
    assert {each: found[each].speedup_at_most for each in found} == pytest.approx(
        {"cuda_graphs true": 1.25, "optimizer fused": 1.25}
    )


def test_what_brings_next_to_nothing_is_not_said_and_the_largest_comes_first() -> None:
    small = _layer(Bound.HOST, 1.0, idle_before_ms=1.5, host_wait_ms=1.5, work_bound=Bound.LATENCY)
    found = _advice(_layer(Bound.MEMORY, 99.0, memory_ms=98.9), small)
    assert "cuda_graphs true" not in found
    many = list(_advice(_layer(Bound.COMPUTE, 50.0), _layer(Bound.MEMORY, 50.0, memory_ms=40.0)).values())
    assert [each.speedup_at_most for each in many] == sorted((each.speedup_at_most for each in many), reverse=True)


def test_no_advice_is_infinite() -> None:
    found = _advice(_layer(Bound.LATENCY, 100.0))
    assert all(each.speedup_at_most == pytest.approx(1000.0) for each in found.values())
    for each in found.values():
        assert Advice.model_validate_json(each.to_json()) == each


def test_no_number_is_given_where_next_to_nothing_has_a_cost() -> None:
    unknown = _layer(Bound.UNMODELLED, 50.0, modelled=0.0, flops=0.0, bytes=0.0)
    assert _advice(unknown, _layer(Bound.COMPUTE, 1.0, compute_ms=1.0)) == {}
    assert _advice(unknown, _layer(Bound.COMPUTE, 30.0, compute_ms=30.0))
