"""Copies to the host inside operators: a few bytes add what they take, and do not stand for all that was read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.datasheet import datasheet_ceilings
from autotune.probes.analysis import profile_of_trace
from autotune.profile_record import Bound, Ceiling, CeilingKind, Ceilings, Layer
from exported import annotation, kernel, launch, operator, save

MEMORY, TO_HOST = 1e12, 1e10  # bytes/s
CEILINGS = Ceilings(
    ceilings=(
        Ceiling(kind=CeilingKind.COPY, samples=(MEMORY,)),
        Ceiling(kind=CeilingKind.HOST_TO_DEVICE, samples=(TO_HOST,)),
    )
)
Inputs = list[tuple[list[int], str, str]]


def _row(
    tmp_path: Path,
    name: str,
    inputs: Inputs,
    copied: int,
    *,
    way: str = "DtoH",
    inner: str = "",
    ceilings: Ceilings = CEILINGS,
) -> Layer:
    """An operator that runs a kernel for 100 us and copies so many bytes to the host, itself or one within it."""
    copy = kernel(120, 5, 2, name=f"Memcpy {way} (Device -> Pageable)", category="gpu_memcpy")
    copy["args"]["bytes"] = copied
    within: list[dict[str, Any]] = [operator(inner, 14, 4)] if inner else []
    path = save(
        tmp_path / "trace.json",
        annotation("ProfilerStep#0", 0, 200),
        annotation("layer:(loss)", 5, 40),
        operator(name, 11, 20, inputs=inputs),
        launch(12, 1),
        kernel(20, 100, 1, name="DeviceSelectSweepKernel"),
        *within,
        launch(15, 2, name="cudaMemcpyAsync"),
        copy,
    )
    (row,) = profile_of_trace(path, ceilings=ceilings).layers
    return row


FLAGS, VALUES = ([100_000_000], "bool", ""), ([25_000_000], "float", "")


@pytest.mark.parametrize("inner", ["", "aten::copy_"])
@pytest.mark.parametrize(
    ("name", "inputs", "read"),
    [("aten::nonzero", [FLAGS], 1e8), ("aten::masked_select", [VALUES, ([25_000_000], "bool", "")], 1.25e8)],
    ids=["nonzero", "masked_select"],
)
def test_the_count_that_a_search_tells_the_host_adds_to_what_it_reads(
    tmp_path: Path, name: str, inputs: Inputs, read: float, inner: str
) -> None:
    row = _row(tmp_path, name, inputs, 8, inner=inner)
    assert row.bytes == read
    assert row.memory_ms == pytest.approx(1000.0 * (read / MEMORY + 8 / TO_HOST), rel=1e-6)
    assert row.bound is Bound.MEMORY


@pytest.mark.parametrize("way", ["DtoH", "HtoD"])
def test_what_crosses_whole_is_held_against_the_way_to_the_host_alone(tmp_path: Path, way: str) -> None:
    row = _row(tmp_path, "aten::copy_", [([1000], "float", ""), ([1000], "float", "")], 4000, way=way)
    assert row.bytes == 8000
    assert row.memory_ms == pytest.approx(1000.0 * 4000 / TO_HOST)


def test_a_copy_to_the_host_is_not_called_latency_where_no_ceiling_of_that_way_is_known(tmp_path: Path) -> None:
    datasheet = datasheet_ceilings("NVIDIA H100 80GB HBM3")
    assert datasheet is not None
    copy = [([1000], "float", ""), ([1000], "float", "")]
    assert _row(tmp_path, "aten::copy_", copy, 4000, ceilings=datasheet).bound is Bound.UNMODELLED
    # A search's eight bytes do not speak for all that it reads.
    assert _row(tmp_path, "aten::nonzero", [([1_000_000], "bool", "")], 8, ceilings=datasheet).bound is Bound.LATENCY


def test_a_cast_on_the_device_before_a_copy_to_the_host_counts_in_the_devices_memory(tmp_path: Path) -> None:
    half = ([1000], "c10::BFloat16", "")
    row = _row(tmp_path, "aten::copy_", [half, ([1000], "float", "")], 2000)
    # 4000 bytes read and 2000 written: of these 2000 read and written by the way to the host.
    assert row.memory_ms == pytest.approx(1000.0 * (2000 / TO_HOST + 2000 / MEMORY))


def test_no_more_crosses_than_the_operator_moves(tmp_path: Path) -> None:
    """A profiler that reports more than there was cannot make the memory's part negative."""
    row = _row(tmp_path, "aten::copy_", [([1000], "float", ""), ([1000], "float", "")], 1_000_000)
    assert row.memory_ms == pytest.approx(1000.0 * 4000 / TO_HOST)
