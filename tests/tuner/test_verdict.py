from __future__ import annotations

import math
import random

import pytest

from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.intervals import interval
from autotune.records import Outcome, Stage, Trial, Verdict, VerdictKind
from autotune.tuner.objective import Objective
from autotune.tuner.verdict import paired_log_ratio, verdict

CPU = Circumstances("cpu", 4)
BASELINE = TrainingConfig.baseline(CPU)
CANDIDATE = BASELINE.model_copy(update={"channels_last": True})
FASTER = [math.log(ratio) for ratio in (1.30, 1.32, 1.28, 1.31)]


def _trial(config: TrainingConfig, steps: tuple[int, ...], ms: tuple[float, ...]) -> Trial:
    return Trial(number=1, stage=Stage.RACE, config=config, outcome=Outcome.OK, steps=steps, step_ms=ms)


def recommended(
    result: Verdict, baseline: TrainingConfig = BASELINE, memory: dict[TrainingConfig, int] | None = None
) -> TrainingConfig:
    """What is trained with for the sake of speed, where configs took so much memory."""
    sides = (
        _trial(config, (0,), (1.0,)).model_copy(update={"peak_memory_bytes": (memory or {}).get(config)})
        for config in (baseline, result.candidate)
    )
    return Objective.THROUGHPUT.recommended(result, *sides)


def test_the_interval_is_students_t_over_the_blocks() -> None:
    # By hand: mean 0.2, standard deviation 0.1, n = 4, t(3) = 3.182: half-width 3.182 x 0.1 / 2.
    logs = [0.2 - 0.1 * math.sqrt(1.5) * sign for sign in (1, -1)] + [0.2, 0.2]
    ratio, low, high = interval(logs)
    assert ratio == pytest.approx(math.exp(0.2))
    assert math.log(high) - 0.2 == pytest.approx(3.182 * 0.1 / 2, rel=1e-6)
    assert 0.2 - math.log(low) == pytest.approx(3.182 * 0.1 / 2, rel=1e-6)


@pytest.mark.parametrize("blocks", [3, 6, 12])
def test_the_interval_covers_the_true_ratio_in_95_of_100_races(blocks: int) -> None:
    dice = random.Random(blocks)
    truth, races = 0.1, 4000
    covered = 0
    for _ in range(races):
        _, low, high = interval([dice.gauss(truth, 0.02) for _ in range(blocks)])
        covered += low <= math.exp(truth) <= high
    # 95% of 4000 has a standard deviation of 0.35%: three of them on either side.
    assert 0.939 <= covered / races <= 0.961


def test_two_blocks_give_no_verdict() -> None:
    result = verdict(BASELINE, CANDIDATE, FASTER[:2])
    assert result.kind is VerdictKind.NOT_MEASURED
    assert result.ratio is None
    assert "budget" in result.sentence
    assert recommended(result) == BASELINE


def test_a_faster_candidate_is_recommended_with_its_interval() -> None:
    result = verdict(BASELINE, CANDIDATE, FASTER)
    assert result.kind is VerdictKind.FASTER
    assert result.low is not None
    assert result.high is not None
    assert 1.0 < result.low < 1.30 < result.high
    assert "channels_last" in result.sentence
    assert recommended(result) == CANDIDATE


@pytest.mark.parametrize(
    ("ratios", "kind"),
    [
        ((1.004, 1.006, 1.005, 1.005), VerdictKind.NO_REAL_DIFFERENCE),  # real, but inside the indifference zone
        ((0.80, 1.50, 1.10, 0.95), VerdictKind.NO_REAL_DIFFERENCE),  # too noisy to tell
        ((0.80, 0.81, 0.79, 0.80), VerdictKind.SLOWER),
        ((1.02, 1.03, 1.025, 1.02), VerdictKind.FASTER),
    ],
)
def test_a_difference_must_be_clear_and_larger_than_the_zone(ratios: tuple[float, ...], kind: VerdictKind) -> None:
    assert verdict(BASELINE, CANDIDATE, [math.log(ratio) for ratio in ratios]).kind is kind


def test_the_same_config_twice_is_never_a_difference() -> None:
    result = verdict(BASELINE, BASELINE, FASTER)
    assert result.kind is VerdictKind.NO_REAL_DIFFERENCE
    assert "against itself" in result.sentence
    assert "leaves out 1" in result.sentence, "a race that finds a difference where there is none says so"
    steady = verdict(BASELINE, BASELINE, [0.01, -0.01, 0.0, 0.002])
    assert "leaves out 1" not in steady.sentence


def test_a_tie_goes_to_the_safer_numerics_then_to_less_memory() -> None:
    tie = [0.001, -0.001, 0.0005, 0.0]
    gpu = Circumstances("cuda", 16, (9, 0), native_bf16=True)
    default = TrainingConfig.baseline(gpu)
    fp32 = default.model_copy(update={"precision": Precision.FP32})
    bf16 = default.model_copy(update={"precision": Precision.BF16})
    smaller = default.at_batch_size(8, 16)
    half = {default: 1000, bf16: 500, smaller: 500, fp32: 1000}
    assert recommended(verdict(default, fp32, tie), default, half) == fp32
    assert recommended(verdict(default, bf16, tie), default, half) == default
    assert recommended(verdict(default, smaller, tie), default, half) == smaller
    assert recommended(verdict(default, smaller, tie), default, {default: 1000, smaller: 990}) == default


def test_a_candidate_that_may_be_slower_does_not_win_a_tie() -> None:
    unsure = verdict(BASELINE, BASELINE.at_batch_size(2, 4), [-0.05, 0.05, -0.04, 0.04])
    assert unsure.kind is VerdictKind.NO_REAL_DIFFERENCE
    assert recommended(unsure, BASELINE, {BASELINE: 1000, unsure.candidate: 500}) == BASELINE


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_real_difference_must_show_at_99_percent(sign: float) -> None:
    # t = 0.02 / (0.0115 / 2) = 3.5 at 3 degrees of freedom: beyond 95% (3.18), not beyond 99% (5.84).
    unsure = verdict(BASELINE, CANDIDATE, [sign * log for log in (0.01, 0.03, 0.01, 0.03)])
    assert unsure.kind is VerdictKind.NO_REAL_DIFFERENCE
    assert unsure.sentence.startswith("Not sure: ")
    assert interval(unsure.log_ratios) == (unsure.ratio, unsure.low, unsure.high), "printed at 95%"
    sure = verdict(BASELINE, CANDIDATE, [sign * log for log in (0.02, 0.021, 0.019, 0.02)])
    assert sure.kind is (VerdictKind.FASTER if sign > 0.0 else VerdictKind.SLOWER)


def test_the_ratio_pairs_the_steps_that_both_timed() -> None:
    baseline = _trial(BASELINE, (0, 1, 2), (100.0, 300.0, 999.0))
    candidate = _trial(CANDIDATE, (1, 0), (150.0, 50.0))
    assert paired_log_ratio(baseline, candidate) == pytest.approx(math.log(2.0))
    with pytest.raises(ValueError, match="no step in common"):
        paired_log_ratio(baseline, _trial(CANDIDATE, (7,), (1.0,)))


def test_for_the_sake_of_memory_a_gain_within_its_zone_is_no_reason_to_take_more() -> None:
    result = verdict(BASELINE, CANDIDATE, [0.013, 0.0131, 0.0129, 0.013])
    assert result.kind is VerdictKind.FASTER
    sides = [
        _trial(config, (0,), (1.0,)).model_copy(update={"peak_memory_bytes": peak})
        for config, peak in ((BASELINE, 1000), (CANDIDATE, 2000))
    ]
    assert Objective.MEMORY.recommended(result, *sides) == BASELINE
    assert Objective.THROUGHPUT.recommended(result, *sides) == CANDIDATE


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ((0.80, 1.50, 1.10, 0.95), ("Not sure: ", "too wide to tell; 101 more.")),
        (
            (1.01, 1.03, 1.01, 1.03),
            ("Not sure: ", "must show at 99%, and this does not; 6 more."),
        ),
        ((1.02, 0.98, 1.02, 0.98), ("No real difference: ", "To tell one of 1%, 25 more.")),
        ((1.002, 0.998, 1.002, 0.998), ("No real difference: ", "the speed of your baseline.")),
    ],
)
def test_an_interval_too_wide_says_what_would_narrow_it(ratios: tuple[float, ...], words: tuple[str, str]) -> None:
    logs = [math.log(ratio) for ratio in ratios]
    result = verdict(BASELINE, CANDIDATE, logs, would_do="{} more".format)
    assert result.kind is VerdictKind.NO_REAL_DIFFERENCE
    assert result.sentence.startswith(words[0])
    assert result.sentence.endswith(words[1]), result.sentence
