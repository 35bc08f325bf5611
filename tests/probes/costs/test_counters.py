"""The model against floating-point instructions that an A100 counted while it ran AlexNet on 128 images.

The trace has no shapes; they are AlexNet's (torchvision's, 224x224 images). Each kernel has the instructions that its
threads executed: FFMA is a multiply-add, two FLOPs. Tensor cores' instructions were not counted.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from autotune.probes.costs import Call, Tensor, cost_of

IMAGES = 128
KERNELS_BEFORE, KERNELS_A_PASS = 1, 38
COUNTER = "smsp__sass_thread_inst_executed_op_{}_pred_on.sum"


@dataclass(frozen=True)
class Kernel:
    name: str
    fma: int
    flops: int


@pytest.fixture(scope="module", params=["warm-up", "measured"])
def kernels(request: pytest.FixtureRequest, traces: Path) -> list[Kernel]:
    """Those of one forward pass, in order; the first of all kernels made the images."""
    with gzip.open(traces / "a100_alexnet_cupti_counters.json.gz") as file:
        events = json.load(file)["traceEvents"]
    ranges = [event for event in events if event.get("cat") == "cuda_profiler_range"]
    found = [_kernel(event["name"], event["args"]) for event in sorted(ranges, key=lambda event: event["ts"])]
    first = KERNELS_BEFORE + (KERNELS_A_PASS if request.param == "measured" else 0)
    assert len(found) == KERNELS_BEFORE + 2 * KERNELS_A_PASS
    return found[first : first + KERNELS_A_PASS]


def _kernel(name: str, counts: dict[str, int]) -> Kernel:
    fma, add, multiply = (counts[COUNTER.format(kind)] for kind in ("ffma", "fadd", "fmul"))
    assert not any(counts[COUNTER.format(kind)] for kind in ("dfma", "dadd", "dmul"))
    # hfma is left out: this model has no half precision; the kernels that show it are address arithmetic of copies.
    return Kernel(name, fma, 2 * fma + add + multiply)


def convolution(channels: int, size: int, filters: int, window: int, stride: int, padding: int) -> float:
    source, weight = (
        Tensor((IMAGES, channels, size, size), "float"),
        Tensor((filters, channels, window, window), "float"),
    )
    options = (None, f"[{stride}, {stride}]", f"[{padding}, {padding}]", "[1, 1]", "False", "[0, 0]", "1")
    cost = cost_of(Call("aten::convolution", (source, weight, *options)))
    assert cost is not None
    return cost.flops


def linear(inputs: int, outputs: int) -> float:
    source, weight = Tensor((IMAGES, inputs), "float"), Tensor((inputs, outputs), "float")
    cost = cost_of(Call("aten::mm", (source, weight)))
    assert cost is not None
    return cost.flops


def test_the_first_convolution_executes_what_the_model_says_and_its_padding_to_tiles(kernels):
    """implicit_convolve_sgemm walks 3 x 11 x 11 = 363 products of an output in tiles of 8: 368 of them. That is the
    whole difference, 1.4%."""
    executed, modelled = kernels[0], convolution(3, 224, 64, 11, 4, 2)
    assert modelled == 2 * IMAGES * 64 * 55 * 55 * 363
    assert 2 * executed.fma == modelled / 363 * 368


@pytest.mark.parametrize(
    ("place", "inputs", "outputs"), [pytest.param(29, 9216, 4096, id="fc6"), pytest.param(33, 4096, 4096, id="fc7")]
)
def test_linear_layers_execute_exactly_the_multiply_adds_of_the_model(kernels, place, inputs, outputs):
    assert kernels[place].name == "ampere_sgemm_32x32_sliced1x4_tn"
    assert 2 * kernels[place].fma == linear(inputs, outputs)


def test_the_last_layer_executes_its_padding_too(kernels):
    """Its 1000 outputs are computed as 1024; its sum over 4096 in six slices, each 683 rounded up to 704; merging those
    takes five more. Together 5.7% more than the model."""
    assert linear(4096, 1000) == 2 * IMAGES * 1000 * 4096
    assert kernels[36].fma == IMAGES * 1024 * (6 * 704 + 5)
    assert 2 * kernels[36].fma == pytest.approx(linear(4096, 1000), rel=0.06)


def test_a_convolution_by_fft_executes_a_ninth_of_the_model(kernels):
    """The 5x5 convolution: transforms of 32x32 tiles, a product of complex matrices, and the way back. The model counts
    the direct algorithm, so that such a layer may run faster than its compute floor: by 9 times at most here."""
    transforms = kernels[4:8]
    assert [kernel.name[:15].rstrip("<") for kernel in transforms] == [
        "void fft2d_r2c_",
        "void fft2d_r2c_",
        "ampere_gcgemm_6",
        "void fft2d_c2r_",
    ]
    modelled = convolution(64, 27, 192, 5, 1, 2)
    assert modelled / sum(kernel.flops for kernel in transforms) == pytest.approx(9.2, abs=0.1)


@pytest.mark.parametrize("place", [13, 18, 23])
def test_convolutions_on_tensor_cores_leave_no_trace_in_these_counters(kernels, place):
    """Precision `default` lets convolutions use TF32: conv3 to conv5 cannot be checked, but for what they are."""
    assert "xmma_new::implicit_gemm::fprop" in kernels[place].name
    assert kernels[place].fma == 0


@pytest.mark.parametrize(
    ("place", "channels", "size"), [(1, 64, 55), (8, 192, 27), (14, 384, 13), (19, 256, 13), (24, 256, 13)]
)
def test_a_bias_is_an_addition_for_each_output(kernels, place, channels, size):
    """add_ executes a multiply-add, for it has a factor alpha: one instruction where the model counts one FLOP."""
    source = Tensor((IMAGES, channels, size, size), "float")
    cost = cost_of(Call("aten::add_", (source, Tensor((1, channels, 1, 1), "float"), "1")))
    assert cost is not None
    assert kernels[place].fma == cost.flops
