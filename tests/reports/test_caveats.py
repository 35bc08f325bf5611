from __future__ import annotations

import random

import pytest

from autotune.records import DeviceState, RaceEnd, Recommended
from autotune.reports.caveats import caveats, is_unsettled
from records import BASELINE, BF16, FACTS, checked, disturbed, faster, ok, race, run_record, verdict


def test_an_undisturbed_run_has_none():
    assert caveats(faster()) == []


def test_each_disturbance_is_told_with_how_much_of_the_run_it_touched():
    assert caveats(disturbed()) == [
        "The run was interrupted before its end.",
        "The race had 3 blocks only, which makes its interval wide; a larger --budget pays for more.",
        "The interval spans 30% of the ratio: a quieter machine narrows it.",
        "The losses of bf16 + channels_last were not checked against fp32's.",
        "In 7 of 9 trials, 6 of them in the race, the device was throttled: software power cap.",
        "In 7 of 9 trials, 6 of them in the race, other processes used the GPU: up to 2 at a time.",
        "In 1 of 9 trials step times had not settled: default, batch 16.",
        "In 7 of 9 trials, 6 of them in the race, part of the device's state could not be read: power.",
        "bf16 + channels_last, batch 16 itself failed in 1 of 5 trials: 1 crashed.",
    ]


@pytest.mark.parametrize(("cores", "told"), [(None, False), (0.1, False), (1.3, True)])
def test_other_processes_on_the_cpu_are_told_above_housekeeping(cores, told):
    record = run_record([ok(BASELINE, 100.0, state=DeviceState(cpu_load_by_others=cores))])
    assert caveats(record) == ["In 1 of 1 trial other processes kept the CPU busy: up to 1.3 cores."] * told


def test_few_blocks_are_told_and_enough_are_not():
    def notes(blocks: int) -> list[str]:
        recommendation = Recommended(config=BF16, verdict=verdict(BF16, 2.0, blocks))
        return caveats(run_record([*checked(BF16), *race(BF16, 100.0, 50.0, blocks)], recommendation=recommendation))

    assert len(notes(4)) == 1
    assert notes(5) == []


@pytest.mark.parametrize(("end", "told"), [(RaceEnd.CLEAR, False), (RaceEnd.BUDGET, True), (None, True)])
def test_few_blocks_are_told_where_more_would_have_come_of_a_larger_budget(end, told):
    few = verdict(BF16, 2.0, 3).model_copy(update={"race_end": end})
    record = run_record(race(BF16, 100.0, 50.0, 3), recommendation=Recommended(config=BF16, verdict=few))
    assert any("3 blocks only" in each for each in caveats(record)) == told


@pytest.mark.parametrize(
    ("end", "what"),
    [
        (RaceEnd.BUDGET, ": a larger --budget or a quieter machine narrows it."),
        (RaceEnd.CLEAR, ", and was clear enough to end the race: only a quieter machine narrows it."),
        (RaceEnd.LENGTH, " after 7 blocks, the most of a race: only a quieter machine narrows it."),
        (None, ": a quieter machine narrows it."),
    ],
)
def test_what_narrows_a_wide_interval_is_told_by_what_ended_the_race(end, what):
    wide = verdict(BF16, 2.0, 7, half_width=0.13).model_copy(update={"race_end": end})
    trials = [*checked(BF16), *race(BF16, 100.0, 50.0, 7)]
    record = run_record(trials, recommendation=Recommended(config=BF16, verdict=wide))
    assert caveats(record) == [f"The interval spans 13% of the ratio{what}"]


@pytest.mark.parametrize(
    ("step_ms", "unsettled"),
    [
        ((100.0,) * 7, False),
        ((100.0,) * 8, False),
        ((100.0,) * 4 + (101.0,) * 4, False),
        ((130.0,) * 4 + (100.0,) * 4, True),
        ((100.0, 130.0) * 4, False),
        ((200.0,) * 2, False),
    ],
)
def test_a_shift_between_the_halves_is_unsettled(step_ms, unsettled):
    assert is_unsettled(ok(BASELINE, 1.0, step_ms=step_ms)) is unsettled


def test_random_steps_are_seldom_called_unsettled():
    draw = random.Random(0)
    found = sum(
        is_unsettled(ok(BASELINE, 1.0, step_ms=tuple(draw.gauss(100.0, 20.0) for _ in range(10)))) for _ in range(300)
    )
    assert found < 0.1 * 300


def test_repeats_are_told_with_what_they_helped():
    company = DeviceState(other_gpu_processes=1)
    trials = [
        ok(BASELINE, 100.0, state=company),
        ok(BASELINE, 90.0, repeated=True),
        ok(BF16, 50.0, state=company),
        ok(BF16, 60.0, repeated=True, state=company),
    ]
    assert "2 disturbed trials were measured again, 1 of them less disturbed: those stand in for the first ones." in (
        caveats(run_record(trials))
    )


def _on_new_sizes(extra_ms: float, ratio: float = 1.3, sizes: int | None = 300) -> list[str]:
    """Of a race whose candidate takes longer by that for the first step on each of three batches."""
    first_ms = {BASELINE: 100.0, BF16: 100.0 / ratio + extra_ms}
    trials = [
        trial.model_copy(update={"rehearsal_ms": (first_ms[trial.config],) * 3})
        for trial in race(BF16, 100.0, 100.0 / ratio, blocks=8)
    ]
    found = Recommended(config=BF16, verdict=verdict(BF16, ratio, 8))
    facts = FACTS.model_copy(update={"input_sizes": sizes})
    told = caveats(run_record(trials, workload=facts, recommendation=found))
    return [sentence for sentence in told if "met before" in sentence]


def test_what_new_image_sizes_cost_is_told():
    (told,) = _on_new_sizes(200.0)
    assert "the first step on one takes 195 ms longer than the next ones, 0 ms with your baseline" in told
    assert told.endswith("which pays once it has come 9 times.")
    assert _on_new_sizes(200.0, sizes=None) == [told], "as in records that do not tell how many sizes there are"


@pytest.mark.parametrize(
    ("extra_ms", "ratio", "sizes"),
    [
        pytest.param(200.0, 1.3, 1, id="no size is new"),
        pytest.param(200.0, 1.005, 300, id="a tie pays for nothing"),
        pytest.param(8.0, 1.05, 300, id="as steps differ"),
        pytest.param(40.0, 1.3, 300, id="it pays soon"),
    ],
)
def test_what_new_image_sizes_cost_is_not_told_where_it_is_not_so_or_does_not_matter(extra_ms, ratio, sizes):
    assert _on_new_sizes(extra_ms, ratio, sizes) == []


def test_losses_that_were_not_checked_are_told_of_unless_they_are_the_baselines_or_fp32s():
    def told(config, baseline=BASELINE, trials=()):
        record = run_record([*trials], recommendation=Recommended(config=config, verdict=verdict(config, 2.0, 8)))
        return any("not checked" in each for each in caveats(record.model_copy(update={"baseline": baseline})))

    fp32 = BASELINE.model_copy(update={"precision": "fp32"})
    assert told(BF16)
    assert told(BF16, trials=[each for each in checked(BF16) if each.config != BF16])
    assert not told(BF16, trials=checked(BF16))
    assert not told(BF16, baseline=BF16.at_batch_size(8, 16))
    assert not told(fp32)
