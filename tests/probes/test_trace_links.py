from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import exported
from autotune.probes.traces import Links, Trace, link, read_trace
from autotune.probes.traces.events import ABSENT
from exported import AUTOGRAD, MAIN, kernel, launch, operator


@pytest.fixture
def linked(tmp_path):
    def read(*events: dict[str, object]) -> tuple[Trace, Links]:
        trace = read_trace(exported.save(tmp_path / "trace.json", *events))
        return trace, link(trace)

    return read


def operator_names(trace: Trace, rows: object) -> list[str | None]:
    return [None if row == ABSENT else trace.names[trace.operators.name[row]] for row in rows]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["v100_convnet_training", "h100_owlv2_inference"])
def test_every_device_event_of_a_real_trace_has_its_launch_and_its_operator(traces, name):
    trace = read_trace(traces / f"{name}.json.gz")
    links = link(trace)
    assert (links.launch != ABSENT).all()
    assert (links.operator != ABSENT).all()
    # The profiler writes the operator's number on its kernels: found another way, the same operator.
    assert (trace.operators.external_id[links.operator] == trace.device_events.external_id).all()


def test_all_convolution_backwards_of_a_real_trace_find_their_forwards(traces):
    trace = read_trace(traces / "v100_convnet_training.json.gz")
    links = link(trace)
    forwards = operator_names(trace, links.forward)
    names = [trace.names[code] for code in trace.operators.name]
    pairs = Counter(
        pair for pair in zip(names, forwards, strict=True) if "onvolution" in pair[0] and "ackward" in pair[0]
    )
    assert pairs == {
        ("autograd::engine::evaluate_function: ConvolutionBackward0", "aten::convolution"): 265,
        ("ConvolutionBackward0", "aten::convolution"): 265,
        ("aten::convolution_backward", "aten::convolution"): 265,
    }
    # No forward has two nodes, and each began before its backward did.
    rows = [row for row, name in enumerate(names) if name == "ConvolutionBackward0"]
    assert len(set(links.forward[rows].tolist())) == 265
    assert (trace.operators.end_ns[links.forward[rows]] < trace.operators.start_ns[rows]).all()


@pytest.mark.parametrize(
    ("call", "category"),
    [
        ("cudaLaunchKernel", "cuda_runtime"),
        ("cudaLaunchKernelExC", "cuda_runtime"),
        ("cuLaunchKernel", "cuda_driver"),
        ("cuLaunchKernelEx", "cuda_driver"),
    ],
)
def test_kernels_are_linked_by_correlation_and_not_by_order(linked, call, category):
    trace, links = linked(
        operator("aten::first", 0, 10),
        operator("aten::second", 10, 10),
        launch(1, 51, name=call, category=category),
        launch(11, 50, name=call, category=category),
        kernel(30, 1, 50),
        kernel(31, 1, 51),
        kernel(32, 1, 99),
    )
    assert links.launch.tolist() == [1, 0, ABSENT]
    assert operator_names(trace, links.operator) == ["aten::second", "aten::first", None]


def test_a_graph_launch_has_many_kernels_and_copies_and_fills_have_their_calls(linked):
    trace, links = linked(
        operator("replay", 0, 5),
        launch(1, 7, name="cudaGraphLaunch"),
        launch(6, 8, name="cudaMemcpyAsync"),
        launch(8, 9, name="cudaMemsetAsync"),
        kernel(10, 1, 7),
        kernel(11, 1, 7),
        kernel(12, 1, 8, name="Memcpy HtoD", category="gpu_memcpy"),
        kernel(13, 1, 9, name="Memset", category="gpu_memset"),
        kernel(14, 1, 0),
    )
    assert links.launch.tolist() == [0, 0, 1, 2, ABSENT]
    assert operator_names(trace, links.operator) == ["replay", "replay", None, None, None]


def test_the_innermost_operator_on_the_launching_thread(linked):
    trace, links = linked(
        operator("aten::outer", 0, 20),
        operator("aten::inner", 0, 10),
        operator("aten::elsewhere", 0, 20, tid=AUTOGRAD),
        launch(0, 1),
        launch(10, 2),  # where inner ends, it is over
        launch(5, 3, tid=AUTOGRAD),
        launch(20, 4),
        *(kernel(30 + number, 1, number) for number in (1, 2, 3, 4)),
    )
    assert operator_names(trace, links.operator) == ["aten::inner", "aten::outer", "aten::elsewhere", None]


def test_nccl_kernels_are_communication(linked):
    _, links = linked(
        kernel(0, 1, 1, name="ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"),
        kernel(0, 1, 2, name="ncclKernel_Broadcast_RING_LL_Sum_int8_t"),
        kernel(0, 1, 3, name="gemm"),
    )
    assert links.communication.tolist() == [True, True, False]


def test_a_backward_operator_takes_the_last_forward_of_its_number_and_hands_it_down(linked):
    trace, links = linked(
        operator("aten::conv2d", 0, 9, sequence=5),
        operator("aten::convolution", 1, 7, sequence=5),
        operator("aten::_convolution", 2, 5),
        operator("evaluate: ConvolutionBackward0", 20, 9, tid=AUTOGRAD, sequence=5, forward_thread=1),
        operator("ConvolutionBackward0", 21, 7, tid=AUTOGRAD, sequence=5, forward_thread=1),
        operator("aten::convolution_backward", 22, 5, tid=AUTOGRAD),
        operator("evaluate: AccumulateGrad", 40, 9, tid=AUTOGRAD),
    )
    assert operator_names(trace, links.forward) == [None, None, None, *["aten::convolution"] * 3, None]


def test_operators_recomputed_in_a_backward_are_no_backward_operators(linked):
    trace, links = linked(
        operator("CheckpointFunction", 0, 9, sequence=5),
        operator("CheckpointFunctionBackward", 20, 20, tid=AUTOGRAD, sequence=5, forward_thread=1),
        operator("aten::relu", 22, 5, tid=AUTOGRAD, sequence=0),
        operator("aten::clamp_min", 23, 3, tid=AUTOGRAD),
        operator("ReluBackward0", 30, 5, tid=AUTOGRAD, sequence=0, forward_thread=2),
    )
    assert operator_names(trace, links.forward) == [None, "CheckpointFunction", None, None, "aten::relu"]


def test_threads_that_share_their_numbers_are_told_apart(linked):
    # Thread ids say nothing of the profiler's numbers: 900 began first and is 1.
    forwards = [operator(f"aten::a{number}", number, 1, tid=900, sequence=number) for number in range(3)]
    forwards += [operator(f"aten::b{number}", 10 + number, 1, tid=MAIN, sequence=number) for number in range(2)]
    backwards = [
        operator(f"{letter}{number}", 30 + number, 1, tid=AUTOGRAD, sequence=number, forward_thread=thread)
        for thread, letter, numbers in [(2, "B", range(2)), (1, "A", range(3))]
        for number in numbers
    ]
    trace, links = linked(*forwards, *backwards)
    found = operator_names(trace, links.forward)[len(forwards) :]
    assert found == ["aten::b0", "aten::b1", "aten::a0", "aten::a1", "aten::a2"]


def test_a_backward_whose_forward_was_not_recorded_has_none(linked):
    _, links = linked(
        operator("aten::relu", 50, 1, sequence=3),
        operator("ReluBackward0", 20, 5, tid=AUTOGRAD, sequence=3, forward_thread=1),
        operator("MulBackward0", 60, 5, tid=AUTOGRAD, sequence=2, forward_thread=1),
    )
    assert links.forward.tolist() == [ABSENT] * 3


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpointed_step_recorded_here(tmp_path, use_reentrant):
    block = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    head = torch.nn.Conv2d(8, 4, 3)
    images = torch.randn(1, 3, 8, 8, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        head(checkpoint(block, images, use_reentrant=use_reentrant)).sum().backward()
    path = tmp_path / "trace.json"
    profiler.export_chrome_trace(str(path))
    trace = read_trace(path)
    links = link(trace)
    names = operator_names(trace, range(len(trace.operators)))
    pairs = Counter(zip(names, operator_names(trace, links.forward), strict=True))
    assert pairs["aten::convolution_backward", "aten::convolution"] == 2
    assert pairs["aten::native_batch_norm_backward", "aten::native_batch_norm"] == 1
    # The block's convolution runs twice, the head's once, and none of them is a backward operator.
    assert pairs["aten::convolution", None] == 3
