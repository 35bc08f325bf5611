from __future__ import annotations

import math

import pytest

from autotune.config import Circumstances, TrainingConfig
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.numerics import objection

CONFIG = TrainingConfig.baseline(Circumstances("cuda", 4, (8, 0)))


def _trial(*losses: float, **fields: object) -> Trial:
    return Trial(
        **{"number": 1, "stage": Stage.NUMERICS, "config": CONFIG, "outcome": Outcome.OK, "losses": losses, **fields}
    )


@pytest.mark.parametrize(
    ("losses", "sound"),
    [
        ((2.0, 1.8, 1.6), True),
        ((2.1, 1.7, 1.7), True),  # 5.6% apart on average
        ((2.0, 2.0, 2.0), False),  # it does not fall: 12% apart
        ((1.0, 0.9, 0.8), False),
    ],
)
def test_losses_that_part_from_fp32s_by_more_than_a_tenth_are_objected_to(
    losses: tuple[float, ...], sound: bool
) -> None:
    reason = objection(_trial(*losses), _trial(2.0, 1.8, 1.6))
    assert (reason is None) is sound


def test_an_overflow_is_objected_to_and_a_few_skipped_updates_are_not() -> None:
    plain = _trial(2.0, 1.8)
    assert objection(_trial(outcome=Outcome.NON_FINITE, detail="the loss is nan in step 1"), plain)
    assert "no weight" in (objection(_trial(2.0, 1.8, skipped_updates=2), plain) or "")
    assert objection(_trial(2.0, 1.8, skipped_updates=1), plain) is None


def test_what_could_not_be_checked_is_not_objected_to() -> None:
    assert objection(_trial(outcome=Outcome.OUT_OF_MEMORY), _trial(2.0)) is None
    assert objection(_trial(math.pi), _trial(outcome=Outcome.TIMEOUT)) is None
