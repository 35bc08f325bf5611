from __future__ import annotations

import math
import random

import pytest

from benchmarks.replay.closeness import spreads


def test_what_steps_vary_by_is_told_apart() -> None:
    dice = random.Random(3)
    steps, repeats, configs = 40, 3, 30
    of_image = [dice.gauss(0.0, 0.1) for _ in range(steps)]

    def config() -> list[list[float]]:
        own = [dice.gauss(0.0, 0.04) for _ in range(steps)]
        return [
            [math.exp(image + apart + dice.gauss(0.0, 0.03)) for image, apart in zip(of_image, own, strict=True)]
            for _ in range(repeats)
        ]

    images, apart, rest = spreads([config() for _ in range(configs)])
    assert images == pytest.approx(0.1, rel=0.25)
    assert apart == pytest.approx(0.04, rel=0.1)
    assert rest == pytest.approx(0.03, rel=0.1)
