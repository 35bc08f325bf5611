from __future__ import annotations

from collections.abc import Sequence

import pytest

from autotune.records import Recommended, RunRecord
from autotune.reports import comparison_text
from autotune.reports.comparison import BETWEEN_RUNS, WITHIN_PROFILES, comparison
from profiles import detector_profile
from records import BASELINE, BF16, CPU, FACTS, GIB, H200, faster, nothing_measured, ok, race, run_record, verdict


def raced(ms: float, noise: float = 0.0, first_step: int = 100, **fields: object) -> RunRecord:
    """A run that recommends BF16 after a race of six blocks, whose times differ by noise."""
    trials = [
        trial.model_copy(
            update={
                "step_ms": tuple(value * (1.0 + noise * (-1) ** (trial.block // 2)) for value in trial.step_ms),
                "steps": tuple(step - 100 + first_step for step in trial.steps),
            }
        )
        for trial in race(BF16, 400.0, ms, blocks=6)
    ]
    return run_record(trials, **{"recommendation": Recommended(config=BF16, verdict=verdict(BF16, 2.3, 6)), **fields})


def test_two_runs_of_the_same_images_are_compared_block_by_block():
    (found,) = comparison([("a", raced(200.0, 0.02)), ("b", raced(160.0, 0.02))]).differences
    assert (found.paired, found.blocks, found.same_work) == (True, 6, True)
    # The noise is the same in both, block by block, so that pairs cancel it.
    assert found.ratio == pytest.approx(1.25)
    assert (found.low, found.high) == pytest.approx((1.25, 1.25))
    assert found.real is True
    assert "b trains 1.25x [1.25, 1.25] as many images/s as a: a real difference, as far as" in found.sentence


@pytest.mark.parametrize("first_step", [100, 500])
def test_the_ratio_is_that_of_the_images_per_second_in_the_table(first_step: int) -> None:
    # One block in six was disturbed, which medians over steps would not show.
    slow = race(BF16, 400.0, 200.0, blocks=6)
    slow[5] = slow[5].model_copy(update={"step_ms": tuple(3.0 * ms for ms in slow[5].step_ms)})
    first = raced(200.0).model_copy(update={"trials": tuple(slow)})
    found = comparison([("a", first), ("b", raced(160.0, first_step=first_step))])
    theirs, ours = (run.images_per_second for run in found.runs)
    assert found.differences[0].paired is (first_step == 100)
    assert ours == pytest.approx(16 / 0.160)
    assert found.differences[0].ratio == pytest.approx(ours / theirs)
    assert found.differences[0].ratio == pytest.approx(1.25 * 3.0 ** (1 / 6))


def test_other_steps_are_compared_as_two_samples():
    (found,) = comparison([("a", raced(200.0, 0.02)), ("b", raced(160.0, 0.02, first_step=500))]).differences
    assert found.paired is False
    assert found.low < 1.25 < found.high
    assert found.real is True


def test_a_difference_within_the_noise_or_within_one_percent_is_none():
    noisy = comparison([("a", raced(200.0, 0.2)), ("b", raced(195.0, 0.2, first_step=500))]).differences[0]
    assert noisy.low < 1.0 < noisy.high
    small = comparison([("a", raced(200.0)), ("b", raced(199.0))]).differences[0]
    assert small.low > 1.0
    assert noisy.real is small.real is False
    assert noisy.sentence.endswith("it may be chance, since the interval holds 1.")
    assert small.sentence.endswith("no real difference.")


def test_runs_without_blocks_get_a_ratio_and_no_interval():
    alone = run_record([ok(BF16, 100.0)], recommendation=faster().recommendation)
    (found,) = comparison([("a", alone), ("b", alone)]).differences
    assert (found.ratio, found.low, found.real) == (1.0, None, None)
    assert "it may be chance" in found.sentence


def test_different_work_is_said_to_be_unlike():
    other = raced(160.0, workload=FACTS.model_copy(update={"data": "COCO"}))
    (found,) = comparison([("a", raced(200.0)), ("b", other)]).differences
    assert (found.same_work, found.paired) == (False, False)
    assert found.sentence.endswith("as a. They did different work (data): the ratio is of unlike things.")
    assert "a real difference" not in found.sentence


def test_what_changed_is_listed_and_nothing_else():
    newer = H200.model_copy(update={"torch": "2.15.0+cu130", "device_uuid": "GPU-1"})
    found = comparison([("a", raced(200.0)), ("b", raced(190.0, machine=newer))])
    assert [(change.name, change.values) for change in found.changes] == [("torch", ("2.14.1+cu130", "2.15.0+cu130"))]


def test_what_was_asked_of_the_search_is_among_what_changed():
    other = raced(190.0, objective="memory", knobs=("compile", "optimizer"))
    found = comparison([("a", raced(200.0)), ("b", other)])
    assert [(change.name, change.values) for change in found.changes] == [
        ("objective", ("throughput", "memory")),
        ("knobs asked for", ("none", "compile, optimizer")),
    ]


def test_runs_of_other_configs_and_machines_stand_in_one_table():
    slow = run_record(
        race(BASELINE, 900.0, 905.0, blocks=3),
        machine=CPU,
        recommendation=Recommended(config=BASELINE, verdict=verdict(BASELINE, 1.0, 3)),
    )
    found = comparison([("a", faster()), ("b", slow), ("c", nothing_measured())])
    assert [run.machine for run in found.runs] == ["NVIDIA H200", "AMD EPYC", "cuda"]
    assert found.runs[0].peak_gib == pytest.approx(41 * GIB / GIB)
    assert found.runs[2].config is None
    assert {"precision", "device type", "channels_last"} <= {change.name for change in found.changes}
    # The run that measured nothing has no ratio.
    assert [difference.path for difference in found.differences] == ["b"]


def profile_alone(samples_ms: Sequence[float], *, images: int = 3, **fields: object) -> RunRecord:
    """A profile of `images` steps and the samples of unprofiled ones, round by round."""
    made = detector_profile(step_samples_ms=tuple(samples_ms), profiled_step_ms=(112.0,) * images)
    return faster().model_copy(
        update={"profile": made, "search": "", "recommendation": None, "trials": (), "workload": FACTS, **fields}
    )


def rounds(ms: float, spread: float, images: int = 3, count: int = 8) -> list[float]:
    """count rounds over images that differ by tens of per cent, each round off by spread one way or the other."""
    return [
        ms * (1 + 0.2 * image) * (1 + spread * (-1) ** number) for number in range(count) for image in range(images)
    ]


def test_profiles_are_compared_round_by_round():
    found = comparison([("a", profile_alone(rounds(100.0, 0.01))), ("b", profile_alone(rounds(80.0, 0.01)))])
    (difference,) = found.differences
    assert (difference.blocks, difference.paired, difference.real) == (8, False, True)
    # That the images differ by more than the two profiles is no noise.
    assert 1.23 < difference.low < 1.25 < difference.high < 1.27
    assert "as far as one process each can tell" in difference.sentence
    assert WITHIN_PROFILES in found.notes
    assert WITHIN_PROFILES not in comparison([("a", raced(200.0)), ("b", raced(160.0))]).notes


def test_profiles_within_their_noise_do_not_differ():
    noisy, other = profile_alone(rounds(100.0, 0.1)), profile_alone(rounds(97.0, 0.1))
    (found,) = comparison([("a", noisy), ("b", other)]).differences
    assert found.low < 1.0 < found.high
    assert found.real is False


def test_profiles_that_recorded_different_numbers_of_steps_are_compared_on_the_images_of_both():
    three, one = profile_alone(rounds(100.0, 0.01)), profile_alone(rounds(100.0, 0.01, images=1), images=1)
    (found,) = comparison([("a", three), ("b", one)]).differences
    assert found.ratio == pytest.approx(1.0)
    assert found.real is False


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (profile_alone(rounds(80.0, 0.0, count=2)), "for want of three rounds of unprofiled steps each"),
        (profile_alone(()), "of one there are profiled steps alone"),
        (raced(200.0), "one is a profile and the other a search"),
    ],
)
def test_where_profiles_cannot_tell_it_is_said_why(other, why):
    (found,) = comparison([("a", profile_alone(rounds(100.0, 0.0))), ("b", other)]).differences
    assert (found.low, found.real) == (None, None)
    assert f"no interval: {why}" in found.sentence or f"no interval, {why}" in found.sentence


@pytest.mark.parametrize("render", [comparison_text.terminal, comparison_text.markdown])
def test_every_kind_of_run_can_be_compared(any_record, render):
    text = render(comparison([("runs/a", faster()), ("runs/b", any_record)]))
    assert "runs/b" in text
    assert "nan" not in text.lower()


def test_what_the_interval_leaves_out_is_always_said():
    found = comparison([("a", raced(200.0)), ("b", raced(160.0))])
    assert BETWEEN_RUNS in comparison_text.terminal(found)
    assert BETWEEN_RUNS in comparison_text.markdown(found)


def test_a_hostile_path_moves_no_cursor_and_is_no_markup():
    found = comparison([("a", raced(200.0)), ("\x1b[2J<img src=x>|", raced(160.0))])
    assert "\x1b" not in comparison_text.terminal(found)
    assert "<img" not in comparison_text.markdown(found)


def test_what_else_used_the_machine_is_said_of_each_run() -> None:
    alone, busy = raced(200.0), raced(160.0)
    busy = busy.model_copy(
        update={
            "trials": tuple(
                trial.model_copy(update={"state": trial.state.model_copy(update={"cpu_load_by_others": 1.5})})
                for trial in busy.trials
            )
        }
    )
    notes = comparison([("alone", alone), ("busy", busy)]).notes
    assert any(note.startswith("busy: In 12 of 12 trials, 12 of them in the race, other processes") for note in notes)
    assert not any(note.startswith("alone:") for note in notes)
