"""What the makers of GPUs promise: our own small catalogue, a source for each row.

datasheets.csv holds the figures as published, dense, with fp32 accumulation (what autocast runs), and the parts that
they follow from: dense FLOP/s = SMs x boost clock x multiply-adds per clock and SM x 2. The tests hold every row to
that, so that no figure with sparsity, or of another precision, slips in. Where a GPU clocks its tensor cores lower, as
Hopper does, both clocks are given.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files

from autotune.profile_record import Ceiling, CeilingKind, Ceilings
from autotune.records import Record

__all__ = ["Datasheet", "catalogue", "datasheet_ceilings", "datasheet_of"]

# Brands that some drivers and tables write and others leave out. Quadro tells GPUs of one number apart, and stays.
_BRANDS = frozenset({"nvidia", "tesla", "geforce"})
_PRECISIONS = ("fp32", "tf32", "fp16", "bf16")


class Datasheet(Record):
    """One GPU. Rates are dense; None where the GPU has none.

    names: as torch and NVML report the GPU, and as tables of benchmarks write it; the first is the name.
    boost_mhz: of ordinary arithmetic; tensor_boost_mhz: of tensor cores. *_fma: multiply-adds per clock and SM (bf16's
    are fp16's). fp32_flops: outside tensor cores. memory_bytes, memory_bytes_per_second: in the maker's powers of ten.
    """

    names: tuple[str, ...]
    architecture: str
    multiprocessors: int
    boost_mhz: float
    tensor_boost_mhz: float | None
    fp32_fma: int
    tf32_fma: int | None
    fp16_fma: int | None
    fp32_flops: float
    tf32_flops: float | None
    fp16_flops: float | None
    bf16_flops: float | None
    memory_bytes: float
    memory_bytes_per_second: float
    source: str

    @property
    def name(self) -> str:
        return self.names[0]

    def figure(self, kind: CeilingKind, precision: str | None = None) -> float | None:
        """The figure that a ceiling is compared with, in the ceiling's unit."""
        if kind in (CeilingKind.MATRIX, CeilingKind.CONVOLUTION):
            rates = {"fp32": self.fp32_flops, "tf32": self.tf32_flops, "fp16": self.fp16_flops, "bf16": self.bf16_flops}
            return rates.get(precision or "")
        return {CeilingKind.VECTOR: self.fp32_flops, CeilingKind.COPY: self.memory_bytes_per_second}.get(kind)


@cache
def catalogue() -> tuple[Datasheet, ...]:
    """All rows of datasheets.csv."""
    text = files("autotune").joinpath("datasheets.csv").read_text(encoding="utf-8")
    return tuple(_datasheet(row) for row in csv.DictReader(text.splitlines()))


def datasheet_of(device_name: str) -> Datasheet | None:
    """The datasheet of a GPU by the name that torch or NVML reports; None for a GPU that the catalogue does not know.

    Brand, case and punctuation do not matter; every other word does, so that an L40S is no L4, a laptop's GPU not the
    desktop's, and a MIG slice no GPU. The memory may be left out where it tells no two GPUs apart.
    """
    if exact := _by_words().get(_words(device_name)):
        return exact
    words, memory_gb = _without_memory(_words(device_name))
    found = {
        sheet.name: sheet
        for known, sheet in _by_words().items()
        if _without_memory(known)[0] == words and memory_gb in (None, round(sheet.memory_bytes / 1e9))
    }
    return next(iter(found.values())) if len(found) == 1 else None


def datasheet_ceilings(device_name: str) -> Ceilings | None:
    """Ceilings of a GPU that is not here, as for a trace recorded elsewhere: its datasheet's figures, unmeasured."""
    sheet = datasheet_of(device_name)
    if sheet is None:
        return None
    kinds = [(kind, p) for kind in (CeilingKind.MATRIX, CeilingKind.CONVOLUTION) for p in _PRECISIONS]
    ceilings = tuple(
        Ceiling(kind=kind, precision=precision, samples=(figure,), datasheet=figure)
        for kind, precision in (*kinds, (CeilingKind.VECTOR, None), (CeilingKind.COPY, None))
        if (figure := sheet.figure(kind, precision)) is not None
    )
    note = (
        f"the ceilings are the datasheet's of {sheet.name} ({sheet.source}), not measured: no program reaches them "
        "quite, so that more layers look latency-bound than are"
    )
    return Ceilings(ceilings=ceilings, measured=False, notes=(note,))


@cache
def _by_words() -> dict[tuple[str, ...], Datasheet]:
    return {_words(name): sheet for sheet in catalogue() for name in sheet.names}


def _words(name: str) -> tuple[str, ...]:
    return tuple(word for word in re.findall(r"[a-z0-9.]+", name.lower()) if word not in _BRANDS)


def _without_memory(words: tuple[str, ...]) -> tuple[tuple[str, ...], int | None]:
    """The words but the memory, `80gb`, wherever it stands, and its size in GB."""
    sizes = [word for word in words if re.fullmatch(r"[0-9]+gb", word)]
    return tuple(word for word in words if word not in sizes), int(sizes[0][:-2]) if sizes else None


def _datasheet(row: dict[str, str]) -> Datasheet:
    def tera(column: str) -> float | None:
        return float(row[column]) * 1e12 if row[column] else None

    whole = {name: row[name] or None for name in ("multiprocessors", "fp32_fma", "tf32_fma", "fp16_fma")}
    clocks = {name: row[name] or None for name in ("boost_mhz", "tensor_boost_mhz")}
    return Datasheet.model_validate(
        {
            "names": tuple(row["names"].split(";")),
            "architecture": row["architecture"],
            **whole,
            **clocks,
            **{f"{precision}_flops": tera(f"{precision}_tflops") for precision in _PRECISIONS},
            "memory_bytes": float(row["memory_gb"]) * 1e9,
            "memory_bytes_per_second": float(row["memory_gb_per_s"]) * 1e9,
            "source": row["source"],
        }
    )
