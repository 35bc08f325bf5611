from __future__ import annotations

from pathlib import Path

import pytest

import autotune
from autotune.datasheet import Datasheet, catalogue, datasheet_ceilings, datasheet_of
from autotune.profile_record import CeilingKind

ROWS = pytest.mark.parametrize("sheet", catalogue(), ids=lambda sheet: sheet.name)


@ROWS
def test_every_figure_is_dense_and_follows_from_the_chip(sheet: Datasheet) -> None:
    figures = {
        "fp32": (sheet.fp32_flops, sheet.boost_mhz, sheet.fp32_fma),
        "tf32": (sheet.tf32_flops, sheet.tensor_boost_mhz, sheet.tf32_fma),
        "fp16": (sheet.fp16_flops, sheet.tensor_boost_mhz, sheet.fp16_fma),
        "bf16": (sheet.bf16_flops, sheet.tensor_boost_mhz, sheet.fp16_fma),
    }
    for precision, (flops, clock_mhz, fma) in figures.items():
        if flops is None:
            assert precision != "fp32"
            continue
        assert clock_mhz is not None
        assert fma is not None
        assert flops == pytest.approx(sheet.multiprocessors * clock_mhz * 1e6 * fma * 2, rel=0.03), precision


@ROWS
def test_a_row_is_whole(sheet: Datasheet) -> None:
    assert sheet.source
    assert (sheet.tf32_flops is None) == (sheet.bf16_flops is None) == (sheet.tf32_fma is None)
    assert sheet.architecture in ("Pascal", "Volta", "Turing") or sheet.tf32_flops
    assert 8e9 <= sheet.memory_bytes < 300e9
    assert 100e9 < sheet.memory_bytes_per_second < 20e12
    assert all(datasheet_of(name) is sheet for name in sheet.names)


def test_no_gpu_stands_twice() -> None:
    names = [name.lower() for sheet in catalogue() for name in sheet.names]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("NVIDIA H200", "NVIDIA H200"),
        ("H100-SXM5-80GB", "NVIDIA H100 80GB HBM3"),
        ("nvidia h100 pcie", "NVIDIA H100 PCIe"),
        ("A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB"),
        ("A100-PCIe-80GB", "NVIDIA A100 80GB PCIe"),
        ("NVIDIA A100-PCIE-40GB", "NVIDIA A100-PCIE-40GB"),
        ("Tesla V100-SXM2-32GB", "Tesla V100-SXM2-32GB"),
        ("V100-PCIe-16GB", "Tesla V100-PCIE-16GB"),
        ("GeForce RTX 3090", "NVIDIA GeForce RTX 3090"),
        ("NVIDIA GeForce RTX 3090 Ti", "NVIDIA GeForce RTX 3090 Ti"),
        ("RTX 4060 Ti", "NVIDIA GeForce RTX 4060 Ti"),
        ("RTX A6000", "NVIDIA RTX A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "NVIDIA RTX 6000 Ada Generation"),
        ("Quadro RTX 6000", "Quadro RTX 6000"),
        ("Tesla T4", "Tesla T4"),
        ("NVIDIA T4", "Tesla T4"),
        ("NVIDIA L4", "NVIDIA L4"),
        ("NVIDIA L40", "NVIDIA L40"),
        ("NVIDIA L40S", "NVIDIA L40S"),
        ("NVIDIA L40S 48GB", "NVIDIA L40S"),
        ("NVIDIA A10", "NVIDIA A10"),
        ("NVIDIA A10G", "NVIDIA A10G"),
        ("B200", "NVIDIA B200"),
    ],
)
def test_a_gpu_is_found_by_the_names_it_goes_by(reported: str, name: str) -> None:
    found = datasheet_of(reported)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "reported",
    [
        "",
        "AMD EPYC 7763",
        "NVIDIA",
        "H100",  # SXM or PCIe
        "NVIDIA A100-SXM4",  # memory of two speeds
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA GeForce RTX 3080 Laptop GPU",
        "NVIDIA GeForce RTX 3080 12GB",
        "RTX 6000",
        "NVIDIA L400",
    ],
)
def test_a_name_that_may_be_another_gpu_has_no_datasheet(reported: str) -> None:
    assert datasheet_of(reported) is None


def test_the_catalogue_lies_in_the_package() -> None:
    """The wheel takes the files of the package that git does not ignore."""
    assert (Path(autotune.__file__).parent / "datasheets.csv").is_file()


def test_a_gpu_elsewhere_has_its_datasheet_for_ceilings() -> None:
    ceilings = datasheet_ceilings("Tesla V100-SXM2-16GB")
    assert ceilings is not None
    assert not ceilings.measured
    assert ceilings.get(CeilingKind.MATRIX, "fp16") == ceilings.get(CeilingKind.CONVOLUTION, "fp16") == 125e12
    assert ceilings.get(CeilingKind.VECTOR) == ceilings.get(CeilingKind.MATRIX, "fp32") == 15.7e12
    assert ceilings.get(CeilingKind.COPY) == 900e9
    for absent in ((CeilingKind.MATRIX, "tf32"), (CeilingKind.MATRIX, "bf16"), (CeilingKind.LAUNCH, None)):
        assert ceilings.get(*absent) is None
    assert "not measured" in ceilings.notes[0]
    assert datasheet_ceilings("some other GPU") is None
