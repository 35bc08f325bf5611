from __future__ import annotations

import math

import pytest

from autotune.config import Circumstances, TrainingConfig
from autotune.tuner.cell import Cell
from autotune.tuner.ladder import Ladder


def _climb(gains: dict[int, float], largest: int, error: float = 0.0) -> list[int]:
    """The rungs that a ladder asks for where the batch sizes bring these, each measured with a standard error."""
    cell = Cell(TrainingConfig.baseline(Circumstances("cpu", 64)))
    cell.largest = largest
    ladder = Ladder(cell, gains[largest], list(gains))
    asked = []
    while not ladder.ended:
        asked.append(ladder.next_size)
        ladder.take(gains[asked[-1]], error)
    return asked


@pytest.mark.parametrize(
    ("gains", "asked"),
    [
        ((1.0, 0.9, 0.8, 0.7, 0.6), [32, 16]),  # two clear losses
        ((1.0, 0.9, 1.1, 1.0, 1.2), [32, 16, 8]),  # a rung may be unlucky, or a shape
        ((1.0, 1.001, 1.002, 1.001, 1.0), [32, 16, 8]),  # flat
        ((1.0, 1.1, 1.2, 1.3, 1.4), [32, 16, 8, 4]),
        ((1.0, -math.inf, -math.inf, 2.0, 2.0), [32, 16]),
        ((1.0, 0.74, 1.1, 1.2, 1.3), [32]),  # a great loss
        ((1.0, 1.3, 1.04, 1.4, 1.5), [32, 16]),  # on the best so far
        ((1.0, -math.inf, 0.99, 0.7, 1.3), [32, 16, 8]),  # what failed says nothing of the next
    ],
)
def test_a_ladder_ends_where_going_on_brings_nothing(gains: tuple[float, ...], asked: list[int]) -> None:
    assert _climb(dict(zip((64, 32, 16, 8, 4), gains, strict=True)), 64) == asked


def test_it_begins_below_the_cells_largest_batch() -> None:
    assert _climb({64: 0.0, 32: 0.0, 16: 1.0, 8: 2.0, 4: 3.0}, 16) == [8, 4]


@pytest.mark.parametrize(
    ("error", "asked"),
    [(0.01, [32, 16]), (0.03, [32, 16, 8]), (0.5, [32, 16, 8, 4])],
)
def test_a_loss_within_the_noise_is_none(error: float, asked: list[int]) -> None:
    assert _climb(dict(zip((64, 32, 16, 8, 4), (0.0, -0.05, -0.05, -0.04, 0.2), strict=True)), 64, error) == asked
