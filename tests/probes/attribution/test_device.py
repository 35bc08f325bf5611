"""Traces of a GPU made by hand: whose each microsecond is, and why the device waited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.probes.analysis import profile_of_trace
from autotune.probes.attribution import Work, places_of, work_of
from autotune.probes.traces import link, read_trace, steps_of
from autotune.profile_record import Bound, Ceiling, CeilingKind, Ceilings, Layer, Phase, Profile
from exported import AUTOGRAD, annotation, kernel, launch, operator, save

H100 = {"id": 0, "name": "NVIDIA H100 80GB HBM3", "numSms": 132, "computeMajor": 9, "computeMinor": 0}


def _saved(tmp_path: Path, *events: dict[str, Any]) -> Path:
    return save(tmp_path / "trace.json", *events, deviceProperties=[H100])


def _work(path: Path) -> Work:
    trace = read_trace(path)
    links = link(trace)
    return work_of(trace, links, steps_of(trace, links), places_of(trace, links).parent)


def _row(profile: Profile, layer: str, phase: Phase = Phase.FORWARD) -> Layer:
    return next(row for row in profile.layers if (row.layer, row.phase) == (layer, phase))


def _launched(
    operator_name: str, at: float, correlation: int, runs_at: float, lasts: float, **more: Any
) -> list[dict[str, Any]]:
    return [operator(operator_name, at, 4), launch(at + 1, correlation), kernel(runs_at, lasts, correlation, **more)]


def test_kernels_go_to_the_layer_of_their_operator_and_backward_ones_to_its_forward_layer(tmp_path: Path) -> None:
    path = _saved(
        tmp_path,
        annotation("ProfilerStep#0", 0, 100),
        annotation("layer:head", 10, 20),
        operator("aten::convolution", 11, 10, sequence=5),
        launch(12, 1),
        kernel(20, 30, 1),
        operator(
            "autograd::engine::evaluate_function: ConvolutionBackward0",
            40,
            10,
            tid=AUTOGRAD,
            sequence=5,
            forward_thread=1,
        ),
        launch(42, 2, tid=AUTOGRAD),
        kernel(50, 40, 2),
        operator("autograd::engine::evaluate_function: torch::autograd::AccumulateGrad", 51, 6, tid=AUTOGRAD),
        launch(52, 3, tid=AUTOGRAD),
        kernel(90, 5, 3),
    )
    profile = profile_of_trace(path)
    assert _row(profile, "head").time_ms == 0.030
    assert _row(profile, "head", Phase.BACKWARD).time_ms == pytest.approx(0.045)
    assert profile.coverage == 1.0


def test_what_belongs_to_no_layer_is_a_row_of_its_own_and_lowers_the_coverage(tmp_path: Path) -> None:
    path = _saved(
        tmp_path,
        annotation("ProfilerStep#0", 0, 100),
        annotation("layer:head", 10, 20),
        *_launched("aten::mul", 11, 1, 20, 30),
        kernel(50, 10, 77),  # nobody launched it
        *_launched("aten::add", 40, 2, 60, 10),  # outside every layer
    )
    profile = profile_of_trace(path)
    rest = _row(profile, "(unattributed)")
    assert rest.time_ms == pytest.approx(0.020)
    assert profile.coverage == pytest.approx(0.6)
    assert sum(layer.time_ms for layer in profile.layers) == pytest.approx(profile.busy_ms, rel=1e-12)


def test_a_kernel_launched_in_a_layer_but_in_no_operator_is_the_layers(tmp_path: Path) -> None:
    path = _saved(
        tmp_path,
        annotation("ProfilerStep#0", 0, 100),
        annotation("layer:head", 10, 20),
        *_launched("aten::mul", 11, 1, 20, 30),
        launch(25, 2),
        kernel(50, 10, 2, name="triton_fused"),
    )
    assert _row(profile_of_trace(path), "head").time_ms == pytest.approx(0.040)


def test_idle_time_is_the_hosts_only_where_the_launch_came_too_late(tmp_path: Path) -> None:
    path = _saved(
        tmp_path,
        annotation("ProfilerStep#0", 0, 300),
        annotation("layer:early", 5, 15),
        *_launched("aten::mul", 6, 1, 20, 30),
        *_launched("aten::mul", 12, 2, 52, 30),  # launched long before: 2 us of idle time are the device's own
        annotation("layer:late", 100, 20),
        *_launched("aten::mul", 101, 3, 106, 10),  # launched 20 us after the device had ended: 24 us are the host's
    )
    profile = profile_of_trace(path)
    early, late = _row(profile, "early"), _row(profile, "late")
    assert (early.idle_before_ms, early.host_wait_ms) == (0.002, 0.0)
    assert (late.idle_before_ms, late.host_wait_ms) == (0.024, 0.024)
    assert late.bound is Bound.HOST
    assert profile.idle_ms == pytest.approx(0.026)
    totals = {total.bound: total.time_ms for total in profile.classes}
    assert totals[Bound.HOST] == pytest.approx(0.024)
    assert sum(totals.values()) == pytest.approx(profile.busy_ms + profile.idle_ms)


def test_time_of_two_streams_is_counted_once(tmp_path: Path) -> None:
    path = _saved(
        tmp_path,
        annotation("ProfilerStep#0", 0, 100),
        *_launched("aten::mul", 11, 1, 20, 30),
        *_launched("aten::add", 16, 2, 40, 30, stream=8),  # 10 us beside the first
        *_launched("aten::sub", 21, 3, 42, 5, stream=9),  # all of it beside others
    )
    work = _work(path)
    assert work.time_ns.tolist() == [30_000, 20_000, 0]
    assert work.busy_ns == 50_000
    assert work.idle_ns == 0


def test_communication_gets_only_the_time_in_which_nothing_else_ran(tmp_path: Path) -> None:
    path = _saved(
        tmp_path,
        annotation("ProfilerStep#0", 0, 100),
        annotation("layer:head", 5, 40),
        *_launched("aten::mul", 6, 1, 30, 20),
        *_launched("c10d::allreduce_", 11, 2, 20, 60, name="ncclDevKernel_AllReduce", stream=9),
        *_launched("aten::mul", 16, 3, 60, 10),
    )
    profile = profile_of_trace(path)
    assert _row(profile, "head").time_ms == pytest.approx(0.030)
    row = _row(profile, "(communication)")
    assert row.time_ms == pytest.approx(0.030)
    assert row.bound is Bound.COMMUNICATION
    assert profile.idle_ms == 0.0


def test_a_copy_from_the_host_is_held_against_the_way_from_the_host(tmp_path: Path) -> None:
    copy = kernel(20, 100, 1, name="Memcpy HtoD (Pageable -> Device)", category="gpu_memcpy")
    copy["args"]["bytes"] = 1_000_000
    inputs = [([250_000], "float", ""), ([250_000], "float", ""), ([], "Scalar", "False")]
    path = _saved(
        tmp_path,
        annotation("ProfilerStep#0", 0, 200),
        annotation("layer:(inputs)", 5, 20),
        operator("aten::copy_", 11, 4, inputs=inputs),
        launch(12, 1, name="cudaMemcpyAsync"),
        copy,
    )
    ceilings = Ceilings(
        ceilings=(
            Ceiling(kind=CeilingKind.COPY, samples=(3e12,)),
            Ceiling(kind=CeilingKind.HOST_TO_DEVICE, samples=(1.25e10,)),
        )
    )
    row = _row(profile_of_trace(path, ceilings=ceilings), "(inputs)")
    assert row.memory_ms == pytest.approx(0.080)
    assert row.bound is Bound.MEMORY


def test_a_range_in_which_the_host_alone_worked_is_no_step_of_the_device(tmp_path: Path) -> None:
    path = _saved(
        tmp_path,
        annotation("ProfilerStep#0", 0, 100),
        *_launched("aten::mul", 10, 1, 20, 30),
        annotation("ProfilerStep#1", 100, 100),
        *_launched("aten::mul", 110, 2, 120, 30),
        annotation("ProfilerStep#2", 200, 50),
        operator("aten::stack", 210, 10),  # the loader's next batch
    )
    profile = profile_of_trace(path)
    assert profile.profiled_step_ms == (0.1, 0.03)
    assert profile.busy_ms == pytest.approx(0.03)


def test_what_an_operator_costs_the_host_is_not_held_against_the_devices_ceilings(tmp_path: Path) -> None:
    million = [([1_000_000], "float", ""), ([1_000_000], "float", "")]
    path = _saved(
        tmp_path,
        annotation("ProfilerStep#0", 0, 100),
        annotation("layer:head", 5, 60),
        operator("aten::maximum", 6, 4, inputs=million),  # of two tensors on the host
        operator("aten::mul", 20, 4, inputs=million),
        launch(21, 1),
        kernel(30, 10, 1),
    )
    row = _row(profile_of_trace(path), "head")
    assert (row.flops, row.bytes) == (1e6, 12e6)


def test_what_ran_before_the_first_step_or_after_the_last_is_left_out(tmp_path: Path) -> None:
    path = _saved(
        tmp_path,
        *_launched("aten::warmup", 1, 9, 5, 3),
        annotation("ProfilerStep#0", 10, 50),
        *_launched("aten::mul", 11, 1, 20, 30),
        annotation("ProfilerStep#1", 60, 30),
        *_launched("aten::mul", 61, 2, 66, 30),
        *_launched("aten::after", 95, 3, 150, 40),
    )
    work = _work(path)
    assert work.time_ns.tolist() == [30_000, 30_000]
    assert sum(work.steps_ns) == 76_000


@pytest.mark.parametrize(
    ("block", "registers", "shared", "resident"),
    [
        ([1024, 1, 1], 16, 0, 2),  # threads: 2048 to a multiprocessor
        ([256, 1, 1], 128, 0, 2),  # registers: 65,536 to a multiprocessor
        ([256, 1, 1], 82, 0, 2),  # registers come by the 256 to a warp: 11 units and not 10.25
        ([32, 1, 1], 16, 0, 32),  # block slots
        ([128, 1, 1], 16, 50 * 1024, 1),  # shared memory: 96 KiB where the profiler does not say
    ],
)
def test_waves_are_blocks_over_blocks_that_the_device_holds(
    tmp_path: Path, block: list[int], registers: int, shared: int, resident: int
) -> None:
    event = kernel(20, 30, 1)
    event["args"] |= {"grid": [132, 3, 1], "block": block, "registers per thread": registers, "shared memory": shared}
    path = _saved(tmp_path, annotation("ProfilerStep#0", 0, 100), operator("aten::mul", 11, 4), launch(12, 1), event)
    (row,) = profile_of_trace(path).layers
    assert row.waves == pytest.approx(3 / resident)


def test_a_real_training_step_agrees_with_an_independent_count(traces: Path) -> None:
    profile = profile_of_trace(traces / "v100_convnet_training.json.gz")
    assert profile.step_ms == pytest.approx(96.0, rel=0.02)
    trace = read_trace(traces / "v100_convnet_training.json.gz")
    links = link(trace)
    steps = steps_of(trace, links)
    # Marks every tenth of a microsecond in which something ran.
    first, last = steps[0].start_ns, steps[-1].end_ns
    marked = np.zeros((last - first) // 100 + 1, dtype=bool)
    for start, end in zip(trace.device_events.start_ns.tolist(), trace.device_events.end_ns.tolist(), strict=True):
        marked[max(0, start - first) // 100 : max(0, end - first) // 100] = True
    assert profile.busy_ms * len(steps) * 1e4 == pytest.approx(marked.sum(), rel=0.001)
    assert sum(layer.time_ms for layer in profile.layers) == pytest.approx(profile.busy_ms, rel=1e-12)
    assert {layer.phase for layer in profile.layers} == set(Phase)


def test_a_detector_recorded_elsewhere_is_analysed(traces: Path) -> None:
    profile = profile_of_trace(traces / "h100_owlv2_inference.json.gz")
    assert profile.coverage == 1.0
    assert profile.device == "NVIDIA H100 80GB HBM3"
    assert profile.ceilings is not None
    assert not profile.ceilings.measured
    # A whole trace with pauses between its parts: the device waited for a good part of it.
    assert 0.3 < profile.host_share < 0.6
    assert not any(layer.above_ceiling for layer in profile.layers if layer.time_ms > 0.01 * profile.busy_ms)
