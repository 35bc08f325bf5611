"""The rule of the roofline, as tables."""

from __future__ import annotations

import pytest

from autotune.probes.costs import Arithmetic, Cost
from autotune.probes.roofline import Roof, bound_of
from autotune.profile_record import Bound, Ceiling, CeilingKind, Ceilings


@pytest.mark.parametrize(
    ("compute_ms", "memory_ms", "modelled", "expected"),
    [
        (8.0, 2.0, 1.0, (Bound.COMPUTE, False)),
        (2.0, 8.0, 1.0, (Bound.MEMORY, False)),
        (8.0, 7.5, 1.0, (Bound.COMPUTE, True)),
        (7.5, 8.0, 1.0, (Bound.MEMORY, True)),
        (6.0, 1.0, 1.0, (Bound.COMPUTE, False)),
        (5.9, 5.9, 1.0, (Bound.LATENCY, False)),
        (0.0, 0.0, 1.0, (Bound.LATENCY, False)),
        (8.0, 2.0, 0.4, (Bound.UNMODELLED, False)),
    ],
)
def test_the_bound_of_ten_milliseconds(
    compute_ms: float, memory_ms: float, modelled: float, expected: tuple[Bound, bool]
) -> None:
    assert bound_of(10.0, compute_ms, memory_ms, modelled=modelled) == expected


def _ceilings(**values: float) -> Ceilings:
    """Keywords as matrix_tf32 or copy."""
    found = []
    for name, value in values.items():
        kind, _, precision = name.partition("_")
        found.append(Ceiling(kind=CeilingKind(kind), precision=precision or None, samples=(value,)))
    return Ceilings(ceilings=tuple(found))


H100 = _ceilings(
    matrix_fp32=50e12, matrix_tf32=400e12, matrix_bf16=700e12, convolution_tf32=300e12, convolution_bf16=500e12,
    vector=50e12, copy=3e12,
)  # fmt: skip


@pytest.mark.parametrize(
    ("arithmetic", "dtype", "words", "rate"),
    [
        (Arithmetic.MATRIX, "float", "matrix fp32", 50e12),  # PyTorch's default keeps matrix products out of TF32
        (Arithmetic.CONVOLUTION, "float", "convolution tf32", 400e12),  # the units' rate, whoever feeds them
        (Arithmetic.MATRIX, "c10::BFloat16", "matrix bf16", 700e12),
        (Arithmetic.CONVOLUTION, "c10::BFloat16", "convolution bf16", 700e12),
        (Arithmetic.VECTOR, "float", "vector", 50e12),  # depthwise convolution gets no tensor cores
        (Arithmetic.VECTOR, "c10::Half", "vector", 50e12),
        (Arithmetic.MATRIX, "double", "vector", 50e12),  # no ceiling of its own
    ],
)
def test_each_kind_of_arithmetic_has_its_own_ceiling(
    arithmetic: Arithmetic, dtype: str, words: str, rate: float
) -> None:
    roof = Roof(H100, tf32_matrix=False, tf32_convolution=True)
    cost = Cost(flops=1e12, bytes=3e9, arithmetic=arithmetic, dtype=dtype)
    assert roof.arithmetic(cost) == words
    assert roof.compute_ms(cost) == pytest.approx(1000.0 * 1e12 / rate)
    assert roof.memory_ms(cost.bytes) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("compute_ms", "memory_ms", "bound"),
    [(9.0, 0.0, Bound.COMPUTE), (0.0, 7.0, Bound.MEMORY), (5.0, 0.0, Bound.UNMODELLED), (0.0, 0.0, Bound.UNMODELLED)],
)
def test_what_one_ceiling_does_not_explain_is_not_called_latency_where_the_other_is_unknown(
    compute_ms: float, memory_ms: float, bound: Bound
) -> None:
    assert bound_of(10.0, compute_ms, memory_ms, complete=False) == (bound, False)


@pytest.mark.parametrize(
    ("ceilings", "complete"),
    [(H100, True), (Ceilings(ceilings=()), False), (Ceilings(ceilings=H100.ceilings[:-1]), False)],
)
def test_ceilings_are_complete_where_all_flops_and_bytes_have_one(ceilings: Ceilings, complete: bool) -> None:
    assert Roof(ceilings).complete is complete


def test_without_ceilings_nothing_is_explained() -> None:
    cost = Cost(flops=1e12, bytes=3e9, arithmetic=Arithmetic.MATRIX, dtype="float")
    roof = Roof(Ceilings(ceilings=()))
    assert roof.compute_ms(cost) == roof.memory_ms(cost.bytes) == 0.0
