from __future__ import annotations

import pytest

from autotune.records import Recommended, RunRecord
from autotune.reports import comparison_text
from autotune.reports.comparison import BETWEEN_RUNS, comparison
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
    assert "They did different work (data)" in found.sentence


def test_what_changed_is_listed_and_nothing_else():
    newer = H200.model_copy(update={"torch": "2.15.0+cu130", "device_uuid": "GPU-1"})
    found = comparison([("a", raced(200.0)), ("b", raced(190.0, machine=newer))])
    assert [(change.name, change.values) for change in found.changes] == [("torch", ("2.14.1+cu130", "2.15.0+cu130"))]


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


def test_profiles_are_compared_by_their_step():
    alone = faster().model_copy(
        update={"profile": detector_profile(), "search": "", "recommendation": None, "trials": ()}
    )
    found = comparison([("a", alone), ("b", alone)])
    assert found.runs[0].images_per_second == pytest.approx(160.0)
    assert found.differences[0].low is None


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
