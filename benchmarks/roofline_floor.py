"""Whether anything ran faster than the cost model's floor: max(FLOPs / peak, bytes / bandwidth), by shapes alone.

Run by hand: python -m benchmarks.roofline_floor PATH_TO_gpu_tables. Reads neusight_conv_forward_fp32.csv (times of the
forward, with the longest kernel's name), deepbench_conv_train_v100.csv (forward and both gradients, with the forward's
algorithm) and gpu_specs_crosschecked.csv (datasheet peaks).

A row under the floor is explained where its kernel is known to multiply less than the direct convolution that the model
counts, and the time is above the floor of that algorithm. What is left over speaks against the model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median

import pandas as pd
from tabulate import tabulate

from autotune.probes.costs import Call, Cost, Tensor, cost_of

# Multiplications saved by the minimal algorithms F(2x2, 3x3), fused in one kernel, and F(4x4, 3x3), whose products are
# sgemm kernels between the transforms (Lavin and Gray 2015, arXiv 1509.09308). cuDNN's tiled FFT: a 32x32 tile holds
# 30x30 outputs of a 3x3 filter, 8100 products, and has 32x17 complex frequencies of four products each.
FUSED_WINOGRAD, WINOGRAD = 2.25, 4.0
FFT_3X3 = 30 * 30 * 9 / (32 * 17 * 4)
NEUSIGHT_GPUS = {
    "NVIDIA_A100_80GB_PCIe": "A100-PCIe-80GB",
    "Tesla_V100-PCIE-32GB": "V100-PCIe-16GB",  # the 32 GB card differs in nothing but its memory's size
    "Tesla_T4": "T4",
}


@dataclass(frozen=True)
class Timing:
    """saved: how many times fewer products its algorithm may do than the direct one; 1 where it is none of those."""

    group: str
    algorithm: str
    saved: float
    cost: Cost
    measured_s: float
    peak_flops: float
    bandwidth_bytes: float

    @property
    def over_floor(self) -> float:
        return self.measured_s / self._floor_s(self.cost.flops)

    @property
    def explained(self) -> bool:
        return self.measured_s >= self._floor_s(self.cost.flops / self.saved)

    def _floor_s(self, flops: float) -> float:
        return max(flops / self.peak_flops, self.cost.bytes / self.bandwidth_bytes)


def convolution(dims: tuple[int, ...], filters: tuple[int, ...], dtype: str, stride: list[int], pad: list[int]) -> Call:
    source, weight = Tensor(dims, dtype), Tensor(filters, dtype)
    return Call("aten::convolution", (source, weight, None, str(stride), str(pad), "[1, 1]", "False", "[0, 0]", "1"))


def backward(forward: Call, outputs: tuple[int, ...], mask: str) -> Call:
    source, weight, _, *options = forward.arguments
    assert isinstance(source, Tensor)
    gradient = Tensor(outputs, source.dtype)
    return Call("aten::convolution_backward", (gradient, source, weight, None, *options, mask))


def cost(call: Call) -> Cost:
    found = cost_of(call)
    assert found is not None, call
    return found


def neusight(folder: Path, specs: pd.DataFrame) -> Iterator[Timing]:
    table = pd.read_csv(folder / "neusight_conv_forward_fp32.csv")
    for gpu, spec in NEUSIGHT_GPUS.items():
        for row in table.to_dict("records"):
            kernel, measured_ms = row[f"kern_{gpu}"], row[f"ms_{gpu}"]
            if not isinstance(kernel, str) or measured_ms != measured_ms:
                continue
            dims, filters = (row["B"], row["Cin"], row["Hin"], row["Hin"]), (row["Cout"], row["Cin"], 3, 3)
            call = convolution(dims, filters, "float", [row["stride"]] * 2, [row["pad"]] * 2)
            name, saved = by_kernel(kernel)
            peak, bandwidth = specs.at[spec, "fp32"] * 1e12, specs.at[spec, "bw_gbs"] * 1e9
            yield Timing(f"{spec}, fp32, forward", name, saved, cost(call), measured_ms / 1e3, peak, bandwidth)


def by_kernel(kernel: str) -> tuple[str, float]:
    """No name here has tf32, s1688 or xmma in it: all of them compute in the FP32 units, on the A100 too."""
    if "winograd" in kernel:
        return "Winograd, fused", FUSED_WINOGRAD
    if "gcgemm" in kernel:
        return "FFT", FFT_3X3
    # The explicit algorithm, which writes its matrix out, ends in such a kernel too; it cannot come near the floor.
    if "sgemm" in kernel and "convolve" not in kernel:
        return "Winograd, non-fused (sgemm)", WINOGRAD
    return "direct", 1.0


def deepbench(folder: Path, specs: pd.DataFrame) -> Iterator[Timing]:
    table = pd.read_csv(folder / "deepbench_conv_train_v100.csv")
    for row in table.to_dict("records"):
        half = row["precision"] != "fp32"
        window = int(row["filter_h"]), int(row["filter_w"])
        sizes = row["H"], row["W"]
        stride, pad = [row["stride_h"], row["stride_w"]], [row["pad_h"], row["pad_w"]]
        outputs = tuple(
            (size + 2 * more - wide) // step + 1
            for size, more, wide, step in zip(sizes, pad, window, stride, strict=True)
        )
        dtype = "c10::Half" if half else "float"
        forward = convolution((row["N"], row["C"], *sizes), (row["K"], row["C"], *window), dtype, stride, pad)
        written = (row["N"], row["K"], *outputs)
        peak = specs.at["V100-SXM2-16GB", "fp16_fp32acc" if half else "fp32"] * 1e12
        bandwidth = specs.at["V100-SXM2-16GB", "bw_gbs"] * 1e9
        label = f"V100-SXM2, {'fp16' if half else 'fp32'}"
        # Which algorithm a gradient took is not in the table: in FP32, filters of 3x3 and 5x5 with stride 1 may have
        # had cuDNN's non-fused Winograd, as their forwards did.
        winograd = not half and window in ((3, 3), (5, 5)) and stride == [1, 1]
        unknown = ("may be Winograd", WINOGRAD) if winograd else ("direct", 1.0)
        for column, what, call, (name, saved) in (
            ("fwd_ms", "forward", forward, by_algorithm(row["algo"])),
            ("bwd_input_ms", "grad-input", backward(forward, written, "[True, False, False]"), unknown),
            ("bwd_params_ms", "grad-weight", backward(forward, written, "[False, True, False]"), unknown),
        ):
            if row[column] == row[column]:
                yield Timing(f"{label}, {what}", name, saved, cost(call), row[column] / 1e3, peak, bandwidth)


def by_algorithm(algorithm: str) -> tuple[str, float]:
    if algorithm == "WINOGRAD":
        return "Winograd, fused", FUSED_WINOGRAD
    if algorithm == "WINOGRAD_NONFUSED":
        return "Winograd, non-fused", WINOGRAD
    if algorithm.startswith("FFT"):
        return "FFT", FFT_3X3
    return "direct", 1.0


def rows(timings: list[Timing]) -> Iterator[list[object]]:
    for group, members in groupby(timings, key=lambda timing: timing.group):
        found = list(members)
        faster = [timing for timing in found if timing.over_floor < 1]
        left = [timing for timing in faster if not timing.explained]
        yield [
            group,
            len(found),
            f"{median(timing.over_floor for timing in found):.2f}",
            f"{len(faster) / len(found):.1%}",
            *(sum(name in timing.algorithm for timing in faster if timing.explained) for name in ("Winograd", "FFT")),
            len(left),
        ]


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    specs = pd.read_csv(folder / "gpu_specs_crosschecked.csv").set_index("gpu")
    timings = [*neusight(folder, specs), *sorted(deepbench(folder, specs), key=lambda timing: timing.group)]
    headers = ["what", "rows", "median time / floor", "under the floor", "Winograd", "FFT", "unexplained"]
    print(tabulate(rows(timings), headers, tablefmt="github"))
    left = [timing for timing in timings if timing.over_floor < 1 and not timing.explained]
    for timing in sorted(left, key=lambda timing: timing.over_floor):
        print(f"{timing.over_floor:.3f} of the floor: {timing.group}, {timing.algorithm}, {timing.cost}")
    direct = [timing.over_floor for timing in timings if timing.algorithm == "direct"]
    print(f"\ndirect kernels alone: {len(direct)} rows, least time / floor {min(direct):.3f}")


if __name__ == "__main__":
    main()
