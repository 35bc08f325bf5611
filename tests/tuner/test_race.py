"""The race alone, on a bench whose true speeds are known: how often it is right, and what a failure does to it."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.records import Outcome, RaceEnd, Stage, Trial, Verdict, VerdictKind
from autotune.tuner.order import Order
from autotune.tuner.race import Race
from autotune.tuner.side import Side
from autotune.tuner.verdict import ENERGY, paired_log_ratio

BASELINE = TrainingConfig(batch_size=8, precision=Precision.FP32, channels_last=False, cudnn_benchmark=False)
RIVALS = [
    BASELINE.model_copy(update={"precision": precision, "channels_last": channels_last})
    for precision in (Precision.BF16, Precision.FP16)
    for channels_last in (False, True)
]
_START_S = 1.0


class Track:
    """A bench on which every process has a speed of its own: gains are ln of the true speed over the baseline's."""

    keeps_sessions = False
    memory_bytes = None
    input_elements = None
    batches_in_turn: int | None = None

    def __init__(
        self,
        gains: dict[TrainingConfig, float],
        noise: float,
        seed: int = 0,
        budget_s: float = 1e9,
        fails: Callable[[Order], bool] = lambda order: False,
    ) -> None:
        self.circumstances = Circumstances("cuda", 8, (9, 0), native_bf16=True)
        self.seed = seed
        self.remaining_s = budget_s
        self.trials: list[Trial] = []
        self._gains = gains
        self._noise = noise
        self._dice = random.Random(seed)
        self._fails = fails

    def measure(self, order: Order) -> Trial:
        ms = 100.0 * math.exp(self._dice.gauss(0.0, self._noise) - self._gains.get(order.config, 0.0))
        failed = self._fails(order)
        steps = () if failed else tuple(order.steps)
        taken_s = _START_S + (len(steps) + self.rehearsals(len(steps))) * ms / 1000.0
        self.remaining_s -= taken_s
        trial = Trial(
            number=len(self.trials) + 1,
            stage=order.stage,
            config=order.config,
            block=order.block,
            outcome=Outcome.OUT_OF_MEMORY if failed else Outcome.OK,
            detail="as the test wants it" if failed else "",
            steps=steps,
            step_ms=(ms,) * len(steps),
            duration_s=taken_s,
        )
        self.trials.append(trial)
        return trial

    def rehearsals(self, steps: int) -> int:
        return max(0, steps - 1)

    def release(self, config: TrainingConfig) -> None:
        """Nothing is kept."""

    def race(
        self,
        rivals: list[TrainingConfig],
        preferences: dict[TrainingConfig, int] | None = None,
        seen: dict[TrainingConfig, float] | None = None,
        heats: Sequence[Mapping[TrainingConfig, Trial]] = (),
    ) -> Verdict:
        """seen: what trials made of the gains. heats: blocks that were held before."""
        preferred, known = preferences or {}, seen or {}
        sides = [
            Side(config, 0.1 * math.exp(-known.get(config, 0.0)), _START_S, (preferred.get(config, 9),))
            for config in (BASELINE, *rivals)
        ]
        return Race(self, sides[0], sides[1:], 60.0, heats=heats).run(remedy="more", budget_for=math.ceil)

    def counts(self, stage: Stage) -> Counter[TrainingConfig]:
        return Counter(trial.config for trial in self.trials if trial.stage is stage)


def _races(gains: dict[TrainingConfig, float], noise: float, number: int = 300) -> list[Verdict]:
    return [Track(gains, noise, seed).race(list(gains)) for seed in range(number)]


def _share(found: list[Verdict], kind: VerdictKind) -> float:
    return sum(each.kind is kind for each in found) / len(found)


@pytest.mark.parametrize("noise", [0.002, 0.007, 0.015])
@pytest.mark.parametrize("gain", [0.0, 0.03, 0.5])
def test_intervals_cover_the_truth_though_the_best_of_four_was_chosen(noise: float, gain: float) -> None:
    found = _races(dict.fromkeys(RIVALS, gain), noise)
    covered = [each.low <= math.exp(gain) <= each.high for each in found if each.low and each.high]
    assert len(covered) == len(found)
    # 95% less three standard errors of 300 races.
    assert sum(covered) / len(covered) > 0.91


@pytest.mark.parametrize("noise", [0.002, 0.007, 0.015])
def test_equals_are_seldom_said_to_differ(noise: float) -> None:
    found = _races(dict.fromkeys(RIVALS, 0.0), noise)
    # 99% is the rule; less two standard errors of 300 races.
    assert _share(found, VerdictKind.NO_REAL_DIFFERENCE) > 0.975


@pytest.mark.parametrize(("noise", "gain"), [(0.002, 0.015), (0.007, 0.025), (0.015, 0.05)])
def test_a_gain_is_seen_though_four_race(noise: float, gain: float) -> None:
    found = _races(dict.fromkeys(RIVALS, gain), noise, 100)
    assert _share(found, VerdictKind.FASTER) > 0.95


def test_a_loss_is_seen() -> None:
    assert _share(_races({RIVALS[0]: -0.03}, 0.002, 50), VerdictKind.SLOWER) > 0.95


@pytest.mark.parametrize(
    ("gain", "noise", "budget_s", "end", "blocks"),
    [
        (0.12, 0.01, 1e9, RaceEnd.CLEAR, 5),
        (0.25, 0.02, 1e9, RaceEnd.CLEAR, 4),
        (0.5, 0.02, 1e9, RaceEnd.CLEAR, 3),
        (0.5, 0.1, 1e9, RaceEnd.CLEAR, 5),  # how much it is would be hardly known after three
        (0.02, 0.05, 1e9, RaceEnd.LENGTH, 12),
        (0.02, 0.05, 31.0, RaceEnd.BUDGET, 7),
        (0.12, 0.01, 26.0, RaceEnd.CLEAR, 5),  # with more it would end there too
    ],
)
def test_the_verdict_tells_what_ended_the_race(
    gain: float, noise: float, budget_s: float, end: RaceEnd, blocks: int
) -> None:
    # A block of two takes some 4 s.
    found = Track({RIVALS[0]: gain}, noise, budget_s=budget_s).race(RIVALS[:1], seen={RIVALS[0]: gain})
    assert (found.race_end, len(found.log_ratios)) == (end, blocks)


@pytest.mark.parametrize(
    ("gain", "budget_s", "heats"), [(0.17, 31.0, 2), (0.12, 31.0, 0), (0.32, 27.0, 2), (0.25, 27.0, 0)]
)
def test_where_time_is_short_a_clear_gain_leaves_it_to_which_is_the_fastest(
    gain: float, budget_s: float, heats: int
) -> None:
    # A block of two takes 4 s: three of heats and five of a final are out of reach; with four, or three, they are not.
    # After two of the heats it is clear.
    gains = {RIVALS[0]: gain, RIVALS[1]: gain + 0.03}
    track = Track(gains, 0.0005, budget_s=budget_s)
    found = track.race(RIVALS[:2], seen=gains)
    assert set(track.counts(Stage.HEATS).values()) == ({heats} if heats else set())
    assert found.candidate == RIVALS[1 if heats else 0]
    assert found.kind is VerdictKind.FASTER
    assert len(found.log_ratios) >= 3


def test_the_fastest_wins_the_heats_and_alone_meets_the_baseline() -> None:
    gains = dict(zip(RIVALS, (0.10, 0.12, 0.04, 0.12 - 0.002), strict=True))
    track = Track(gains, 0.0005)
    found = track.race(RIVALS, {RIVALS[1]: 2, RIVALS[3]: 1})
    assert found.candidate == RIVALS[3], "within half the zone the preferred wins"
    assert set(track.counts(Stage.HEATS)) == set(RIVALS)
    assert track.counts(Stage.HEATS)[RIVALS[2]] == 2, "who is behind leaves at the first look"
    assert set(track.counts(Stage.RACE)) == {BASELINE, RIVALS[3]}
    assert len(found.log_ratios) == 5


def test_a_tie_takes_more_blocks_than_a_clear_win_and_noise_takes_all() -> None:
    def blocks(gain: float, noise: float) -> int:
        return len(Track({RIVALS[0]: gain}, noise).race(RIVALS[:1]).log_ratios)

    found = blocks(0.5, 0.002), blocks(0.2, 0.002), blocks(0.1, 0.002), blocks(0.0, 0.004), blocks(0.01, 0.02)
    assert found == (3, 4, 5, 7, 12)


def test_one_candidate_needs_no_heats_and_none_is_the_baseline_against_itself() -> None:
    track = Track({RIVALS[0]: 0.1}, 0.002)
    assert track.race(RIVALS[:1]).kind is VerdictKind.FASTER
    assert not track.counts(Stage.HEATS)
    alone = Track({}, 0.002)
    assert alone.race([]).candidate == BASELINE
    assert set(alone.counts(Stage.RACE)) == {BASELINE}


def test_the_final_comes_before_the_heats_where_time_is_short() -> None:
    gains = dict(zip(RIVALS, (0.10, 0.2, 0.04, 0.11), strict=True))
    # A side of five steps takes 1.9 s: five blocks of the final take 19 s, three of heats between two 11.4 s.
    rivals_in_heats = [
        len(track.counts(Stage.HEATS))
        for budget_s in (20.0, 31.0, 38.0, 43.0)
        if (track := Track(gains, 0.002, budget_s=budget_s)).race(RIVALS).log_ratios
    ]
    assert rivals_in_heats == [0, 2, 3, 4]


@pytest.mark.parametrize("budget_s", [5.0, 8.0, 9.5, 16.0, 25.0, 40.0, 80.0])
def test_the_budget_is_kept(budget_s: float) -> None:
    track = Track(dict.fromkeys(RIVALS, 0.01), 0.01, budget_s=budget_s)
    found = track.race(RIVALS)
    # One block more than can be paid is allowed where it makes a verdict.
    assert track.remaining_s >= (-3.9 if len(found.log_ratios) == 3 else -0.5)


def test_who_fails_in_the_heats_is_out() -> None:
    gains = dict(zip(RIVALS, (0.3, 0.2, 0.1, 0.0), strict=True))
    track = Track(gains, 0.002, fails=lambda order: order.config == RIVALS[0] and (order.block or 0) >= 8)
    found = track.race(RIVALS)
    assert found.candidate == RIVALS[1]
    assert found.kind is VerdictKind.FASTER


def test_who_fails_in_the_final_gives_way_to_the_next() -> None:
    gains = dict(zip(RIVALS, (0.1, 0.3, 0.2, 0.0), strict=True))
    track = Track(gains, 0.002, fails=lambda order: order.config == RIVALS[1] and order.stage is Stage.RACE)
    found = track.race(RIVALS)
    assert (found.candidate, found.kind) == (RIVALS[2], VerdictKind.FASTER)
    blocks = [(trial.config, trial.block) for trial in track.trials if trial.stage is Stage.RACE]
    assert len(set(blocks)) == len(blocks), "a journal finds each by its own number"


def test_where_all_fail_a_reason_is_given() -> None:
    track = Track(dict.fromkeys(RIVALS, 0.1), 0.002, fails=lambda order: order.config != BASELINE)
    found = track.race(RIVALS)
    assert found.kind is VerdictKind.NOT_MEASURED
    assert "as the test wants it" in found.sentence


@pytest.mark.parametrize(("after", "kind"), [(2, VerdictKind.NOT_MEASURED), (3, VerdictKind.FASTER)])
def test_a_baseline_that_fails_leaves_the_blocks_in_hand(after: int, kind: VerdictKind) -> None:
    track = Track(
        {RIVALS[0]: 0.1}, 0.002, fails=lambda order: order.config == BASELINE and (order.block or 0) >= 8 * after
    )
    found = track.race(RIVALS[:2])
    assert (found.kind, found.candidate) == (kind, RIVALS[0])
    assert len(found.log_ratios) == (after if kind is VerdictKind.FASTER else 0)


def test_noise_leaves_the_choice_among_those_that_tie_to_the_measured_speed() -> None:
    """The preferred one measured half a percent behind may be more than one percent behind where steps are noisy."""
    gains = {RIVALS[0]: 0.112, RIVALS[1]: 0.1}
    chosen = [Track(gains, 0.015, seed).race(RIVALS[:2], {RIVALS[1]: 1}).candidate for seed in range(200)]
    # 18%; it would be 27% if it were taken whenever it measures half a percent behind or less.
    assert chosen.count(RIVALS[1]) / len(chosen) < 0.22


def test_a_final_does_not_end_early_at_a_verdict_that_is_not_sure() -> None:
    """What noise makes four standard errors of five blocks is less than the 99% that a verdict asks for."""
    found = []
    for seed in range(300):
        track = Track({RIVALS[0]: 0.3}, 0.11, seed)
        found.append(track.race(RIVALS[:1]))
    early = [each for each in found if len(each.log_ratios) < 12]
    assert early
    assert {each.kind for each in early} == {VerdictKind.FASTER}


@pytest.mark.parametrize("slower", [1.0, 1.4, 2.0])
def test_heats_that_take_longer_than_expected_cost_no_verdict(slower: float) -> None:
    gains = dict.fromkeys(RIVALS, 0.4)
    for budget_s in range(40, 80, 5):
        track = Track(gains, 0.001, budget_s=float(budget_s))
        took = track.measure

        def measure(order: Order, track: Track = track, took: Callable[[Order], Trial] = took) -> Trial:
            before_s = track.remaining_s
            trial = took(order)
            track.remaining_s -= (slower - 1.0) * (before_s - track.remaining_s)
            return trial

        track.measure = measure  # type: ignore[method-assign]
        found = track.race(RIVALS, seen=gains)
        assert found.kind is VerdictKind.FASTER, (budget_s, found.sentence)


def _heat(track: Track, block: int, sides: Sequence[TrainingConfig]) -> dict[TrainingConfig, Trial]:
    return {
        side: track.measure(Order(Stage.HEATS, side, range(4), block=8 * block + place))
        for place, side in enumerate(sides)
    }


def test_heats_that_were_held_before_count() -> None:
    gains = dict(zip(RIVALS, (0.10, 0.12, 0.04, 0.05), strict=True))
    track = Track(gains, 0.001)
    held = [_heat(track, 0, RIVALS), _heat(track, 1, RIVALS)]
    found = track.race(RIVALS, heats=held)
    assert found.candidate == RIVALS[1]
    assert set(track.counts(Stage.HEATS).values()) == {2}, "two blocks were enough"
    blocks = {trial.block for trial in track.trials if trial.stage is Stage.HEATS}
    assert len(blocks) == 8, "no block has the number of another"


def test_of_heats_that_were_held_before_those_count_in_which_all_took_part() -> None:
    gains = dict.fromkeys(RIVALS, 0.1)
    track = Track({**gains, RIVALS[3]: 0.2}, 0.001)
    track.race(RIVALS, heats=[_heat(track, 0, RIVALS[:3])])
    assert track.counts(Stage.HEATS)[RIVALS[3]] == 2, "one more block would have told nothing of the fourth"
    assert min(trial.block or 0 for trial in track.trials if trial.stage is Stage.HEATS and trial.number > 3) >= 8


@pytest.mark.parametrize(("batches", "steps"), [(None, 5), (1, 5), (3, 6), (10, 10), (16, 16), (17, 5)])
def test_a_side_takes_whole_passes_over_the_images_unless_they_are_long(batches: int | None, steps: int) -> None:
    track = Track({RIVALS[0]: 0.1, RIVALS[1]: 0.1}, 0.01)
    track.batches_in_turn = batches
    track.race(RIVALS[:2])
    assert {len(trial.steps) for trial in track.trials} == {steps}


def test_the_heats_begin_with_images_that_nobody_was_chosen_by_and_the_final_goes_on_after_theirs() -> None:
    track = Track({RIVALS[0]: 0.1, RIVALS[1]: 0.1}, 0.01)
    sides = [Side(config, 0.1, _START_S) for config in (BASELINE, *RIVALS[:2])]
    Race(track, sides[0], sides[1:], 60.0, first_step=4).run(remedy="more", budget_for=math.ceil)
    blocks = dict.fromkeys((trial.stage, trial.steps) for trial in track.trials)
    steps = [step for _, each in blocks for step in each]
    assert steps == list(range(4, 4 + len(steps)))
    assert [stage for stage, _ in blocks] == sorted(stage for stage, _ in blocks), "first all heats, then the final"


def test_where_whole_passes_cost_too_much_a_part_of_one_must_do() -> None:
    track = Track({RIVALS[0]: 0.1, RIVALS[1]: 0.15}, 0.001, budget_s=50.0)
    track.batches_in_turn = 16
    found = track.race(RIVALS[:2])
    assert {len(trial.steps) for trial in track.trials} == {5}
    assert found.candidate == RIVALS[1]
    assert track.remaining_s > -1.0


def test_a_final_whose_blocks_take_longer_than_expected_ends_with_the_budget() -> None:
    track = Track({RIVALS[0]: 0.02}, 0.03, budget_s=31.0)
    measure = track.measure

    def slower(order: Order) -> Trial:
        before_s = track.remaining_s
        trial = measure(order)
        track.remaining_s -= before_s - track.remaining_s
        return trial

    track.measure = slower  # type: ignore[method-assign]
    found = track.race(RIVALS[:1], seen={RIVALS[0]: 0.02})
    assert found.race_end is RaceEnd.BUDGET
    assert len(found.log_ratios) == 4, "twice as long each: of the seven that there was room for"
    assert track.remaining_s > -8.0


@pytest.mark.parametrize(("budget_s", "steps"), [(16.0, 4), (14.0, 3), (12.0, 2)])
def test_where_a_final_cannot_be_paid_as_long_as_it_should_be_its_sides_take_as_many_steps_as_can(
    budget_s: float, steps: int
) -> None:
    # After a start of a second, steps of 0.5 and 0.25 s: three blocks of four, three or two take 15, 12.75 or 10.5 s.
    class Slow(Track):
        def measure(self, order: Order) -> Trial:
            trial = super().measure(order)
            self.remaining_s += trial.duration_s - _START_S - 0.5 * len(trial.steps)
            return trial.model_copy(update={"step_ms": tuple(5.0 * ms for ms in trial.step_ms)})

        def rehearsals(self, steps: int) -> int:
            return 0

    track = Slow({RIVALS[0]: 0.5}, 0.01, budget_s=budget_s)
    track.keeps_sessions = True
    sides = [Side(config, 0.5, _START_S, (9,)) for config in (BASELINE, RIVALS[0])]
    Race(track, sides[0], [replace(sides[1], step_s=0.25)], 60.0).run(remedy="more", budget_for=math.ceil)
    assert {len(trial.steps) for trial in track.trials} == {steps}


@pytest.mark.parametrize(("deviation", "blocks"), [(0.01, 3), (0.1, 5)])
def test_few_blocks_do_where_steps_were_steady_before(deviation: float, blocks: int) -> None:
    track = Track({RIVALS[0]: 0.5}, 0.001)
    sides = [Side(config, 0.1, _START_S) for config in (BASELINE, RIVALS[0])]
    race = Race(track, sides[0], sides[1:], 60.0, deviation=deviation)
    assert len(race.run(remedy="more", budget_for=math.ceil).log_ratios) == blocks


def test_how_steady_steps_are_tells_nothing_of_energies() -> None:
    track = Track({RIVALS[0]: 0.5}, 0.001)
    sides = [Side(config, 0.1, _START_S) for config in (BASELINE, RIVALS[0])]
    of_energy = replace(ENERGY, log_ratio=paired_log_ratio)
    race = Race(track, sides[0], sides[1:], 60.0, measure=of_energy)
    assert len(race.run(remedy="more", budget_for=math.ceil).log_ratios) == 5


def test_few_blocks_that_agree_by_luck_do_not_do_where_those_of_the_heats_did_not_agree() -> None:
    def ended_after_three(rivals: list[TrainingConfig]) -> int:
        seen = dict.fromkeys(rivals, 0.5)
        found = [Track(seen, 0.05, seed).race(rivals, seen=seen) for seed in range(60)]
        return sum(len(each.log_ratios) == 3 for each in found)

    assert ended_after_three(RIVALS[:1]) > 15, "nothing is known of them before"
    assert ended_after_three(RIVALS) < 8, "two blocks of heats may agree by luck, too"
