from __future__ import annotations

import random
from statistics import fmean

import pytest

from autotune.tuner.spread import robust_variance, unexplained_variance

SIDES, STEPS, DEVIATION = 6, 4, 0.05


def _rows(dice: random.Random) -> list[list[float]]:
    """Logarithms of times: sides and images differ by much more than what is left."""
    images = [dice.gauss(0.0, 0.3) for _ in range(STEPS)]
    return [[side + image + dice.gauss(0.0, DEVIATION) for image in images] for side in range(SIDES)]


def test_sides_and_images_explain_what_is_theirs() -> None:
    images = [0.0, 0.2, -0.1]
    rows = [[side + image for image in images] for side in (1.0, 2.0, 4.0)]
    assert unexplained_variance(rows) == pytest.approx(0.0, abs=1e-12)
    assert robust_variance(rows) == pytest.approx(0.0, abs=1e-12)


def test_two_sides_of_two_steps_by_hand() -> None:
    # What is left is plus and minus 0.1 in every cell: a sum of squares of 0.04, of one degree of freedom.
    assert unexplained_variance([[0.0, 0.0], [0.2, -0.2]]) == pytest.approx(0.04)


@pytest.mark.parametrize("estimate", [unexplained_variance, robust_variance])
def test_on_average_the_variance_is_found(estimate: object) -> None:
    assert callable(estimate)
    dice = random.Random(0)
    found = fmean(estimate(_rows(dice)) for _ in range(2000))
    # The mean of medians lies a little above the median of medians.
    assert found == pytest.approx(DEVIATION**2, rel=0.12)


def test_a_disturbed_side_moves_the_robust_variance_little() -> None:
    dice = random.Random(1)
    plain, robust = [], []
    for _ in range(500):
        rows = _rows(dice)
        rows[2][1] += 1.6  # a step that took five times as long
        plain.append(unexplained_variance(rows))
        robust.append(robust_variance(rows))
    assert fmean(plain) > 20 * DEVIATION**2
    assert fmean(robust) < 2 * DEVIATION**2


def test_a_single_side_says_nothing() -> None:
    assert unexplained_variance([[0.1, 0.2]]) == robust_variance([[0.1, 0.2]]) == 0.0
