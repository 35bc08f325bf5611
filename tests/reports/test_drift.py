from __future__ import annotations

import math
import random

import pytest

from autotune.records import Stage, Trial
from autotune.reports import markdown, terminal
from autotune.reports.caveats import caveats
from autotune.reports.drift import drift, sentence, warning
from records import BASELINE, BF16, FACTS, SIZES, faster, ok, run_record


def baseline(changes: list[float], *, first_steps: list[int] | None = None, noise: float = 0.0) -> list[Trial]:
    """Trials of the baseline, a minute each: after the first, its times are changed by so much (ln)."""
    draw = random.Random(1)
    return [
        ok(
            BASELINE,
            1.0,
            Stage.BASELINE if place == 0 else Stage.RACE,
            first_step=first_steps[place] if first_steps else 0,
            step_ms=tuple(100.0 * size * math.exp(-change + draw.gauss(0.0, noise)) for size in SIZES),
            duration_s=60.0,
        )
        for place, change in enumerate(changes)
    ]


def test_a_straight_drift_is_found_as_it_is() -> None:
    found = drift(run_record(baseline([0.0, -0.01, -0.02, -0.03])))
    assert found is not None
    assert found.ratio == pytest.approx(math.exp(-0.03))
    assert found.minutes == pytest.approx(3.0)
    assert found.percent_per_minute == pytest.approx(100 * (math.exp(-0.01) - 1))
    assert found.trials == 4
    assert found.is_shown


def test_no_speed_falls_by_more_than_all_of_it() -> None:
    found = drift(run_record(baseline([0.0, -1.5, -3.0, -4.5])))
    assert found is not None
    assert found.percent_per_minute == pytest.approx(100 * (math.exp(-1.5) - 1))


def test_the_interval_is_over_trials_and_not_over_their_steps() -> None:
    # By hand: times -1, 0, 1 min; residuals of (0, 0.02, 0) are (-2, 4, -2)/300, the slope is 0. Scores by trial of
    # eight steps: 8 x (2, 0, -2)/300; error: sqrt(2 (16/300)^2 x 3/2) / 16 = 0.005774 a minute; t(1) = 12.706.
    found = drift(run_record(baseline([0.0, 0.02, 0.0])))
    assert found is not None
    assert found.ratio == pytest.approx(1.0)
    assert math.log(found.high) == pytest.approx(2 * 12.706 * 0.0057735, rel=1e-3)
    assert not found.is_shown


def test_images_of_other_sizes_are_no_drift() -> None:
    # Of 64 images in turn, 16 a step: steps 0 and 4 train on the same ones.
    sizes = (1.0, 1.3, 0.8, 1.1)
    trials = [
        ok(
            BASELINE,
            1.0,
            steps=(start, start + 1),
            step_ms=tuple(100.0 * sizes[each % 4] for each in (start, start + 1)),
        )
        for start in (0, 1, 4, 7, 9)
    ]
    found = drift(run_record(trials))
    assert found is not None
    assert found.ratio == pytest.approx(1.0)


@pytest.mark.parametrize("trials", [[], baseline([0.0, 0.05]), baseline([0.0, 0.1, 0.2], first_steps=[0, 100, 200])])
def test_too_few_trials_or_no_images_in_common_tell_nothing(trials: list[Trial]) -> None:
    record = run_record(trials, workload=FACTS.model_copy(update={"images_in_turn": 0}))
    assert drift(record) is None
    assert sentence(record) is None
    assert warning(record) is None


def test_the_time_of_other_trials_counts_and_their_speed_does_not() -> None:
    first, *rest = baseline([0.0, 0.01, 0.02])
    other = ok(BF16, 3.0, duration_s=600.0)
    found = drift(run_record([first, other, *rest]))
    assert found is not None
    assert found.minutes == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("changes", "noise", "warned"),
    [
        ([0.0, -0.02, -0.04, -0.06], 0.001, True),
        ([0.0, 0.02, 0.04, 0.06], 0.001, True),
        ([0.0, 0.002, 0.004, 0.006], 0.0, False),  # real, but inside the indifference zone
        ([0.0, 0.08, -0.05, 0.04], 0.0, False),  # not to be told from noise
    ],
)
def test_a_drift_beyond_the_zone_is_warned_of(changes: list[float], noise: float, warned: bool) -> None:
    record = run_record(baseline(changes, noise=noise))
    assert any("The device drifted" in line for line in caveats(record)) is warned
    for text in (terminal.render(record), markdown.render(record)):
        assert "over 3.0 minutes of measuring" in text


@pytest.mark.parametrize(("duration_s", "rate"), [(60.0, True), (5.0, False)])
def test_a_rate_is_told_where_a_minute_was_measured(duration_s: float, rate: bool) -> None:
    trials = [trial.model_copy(update={"duration_s": duration_s}) for trial in baseline([0.0, 0.01, 0.02, 0.03])]
    assert ("% a minute" in (sentence(run_record(trials)) or "")) is rate


def test_a_steady_run_says_so_in_figures() -> None:
    assert sentence(faster()) is not None
    assert "by 9 trials of it on the same images" in sentence(faster())
    assert warning(run_record()) is None
