from __future__ import annotations

import pytest

from autotune.energy_record import Energy, EnergySource
from autotune.records import Outcome, Recommended, Stage
from autotune.reports import markdown, terminal
from autotune.reports.pareto import Point, front, heading, points, rows, without_energy
from autotune.reports.sentences import measured
from records import BASELINE, BF16, CPU, FP16, GIB, TF32, failed, faster, ok, race, run_record, tie, verdict


def joules(value: float, window_s: float = 2.0) -> Energy:
    return Energy(joules=value, window_s=window_s, source=EnergySource.COUNTER, readings=2)


def point(speed: float, gib: float, per_joule: float | None = None, error: float = 0.0) -> Point:
    return Point(BASELINE, speed, int(gib * GIB), per_joule, error)


@pytest.mark.parametrize(
    ("measured", "unbeaten"),
    [
        ([point(10, 1), point(20, 2), point(15, 3)], [1, 0]),
        ([point(10, 1), point(10, 1)], [0, 1]),  # equals beat neither
        ([point(10, 1, 1.0), point(9, 2, 2.0)], [0, 1]),  # slower and larger, but thriftier
        ([point(10, 1, 1.0, 0.03), point(9, 2, 1.05, 0.03)], [0]),  # by no more than may be an error
        ([point(10, 1), point(9, 2, 2.0)], [0]),  # what was not measured is no reason
        ([point(10, 1, 1.0), point(10, 1, 2.0)], [1]),
        ([point(10, 1), point(9, 0.998)], [0]),  # 2 MiB less are no reason
        ([point(10, 1), point(9, 0.97)], [0, 1]),
        ([point(10.05, 1.2), point(10, 1)], [1]),  # nor is half a percent of the speed
        ([point(10.2, 1.2), point(10, 1)], [0, 1]),
        # The first beats the second in speed, that the third in memory, and that the first in energy: one is left.
        ([point(10.15, 1.015, 1.0, 0.01), point(10, 1, 1.015, 0.01), point(10.075, 1.03, 1.03, 0.01)], [2]),
    ],
)
def test_the_front_holds_what_none_beats(measured: list[Point], unbeaten: list[int]) -> None:
    found = front(measured)
    assert len(found) == len(unbeaten)
    assert all(each is measured[place] for each, place in zip(found, unbeaten, strict=True))


def test_one_high_peak_of_many_trials_keeps_no_slower_config_in_the_front() -> None:
    """Peaks on a CPU differ by some percent between a config's trials."""
    raced = [trial.model_copy(update={"peak_memory_bytes": GIB}) for trial in race(BF16, 100.0, 50.0, 4)]
    place = next(place for place, trial in enumerate(raced) if trial.config == BF16)
    raced[place] = raced[place].model_copy(update={"peak_memory_bytes": int(1.07 * GIB)})
    slower = ok(TF32, 400.0).model_copy(update={"peak_memory_bytes": GIB})
    found = front(points(run_record([ok(BF16, 100.0).model_copy(update={"peak_memory_bytes": GIB}), *raced, slower])))
    assert TF32 not in [each.config for each in found]
    assert found[0].peak_memory_bytes == int(1.07 * GIB)


def test_without_energy_the_front_is_that_of_speed_and_memory() -> None:
    assert len(front(without_energy([point(10, 1, 1.0), point(9, 2, 2.0)]))) == 1


def test_energy_is_pooled_over_a_configs_trials_and_its_error_with_it() -> None:
    trials = [
        ok(BF16, 50.0, energy=joules(100.0)),
        *(trial.model_copy(update={"energy": joules(300.0)}) for trial in race(BF16, 100.0, 50.0, 1)),
    ]
    ours, baseline = points(run_record(trials))
    assert ours.config == BF16
    assert ours.images_per_joule == pytest.approx(16 * 16 / 400.0)
    # By hand: 100 J and 300 J over 2 s are 50 W and 150 W; 0.1 s of each is 5 J and 15 J, together 15.8 J of 400 J.
    assert ours.energy_error == pytest.approx(15.81 / 400, rel=1e-3)
    assert baseline.images_per_joule == pytest.approx(8 * 16 / 300.0)


def test_what_failed_or_was_not_timed_has_no_place() -> None:
    trials = [ok(BASELINE, 100.0), failed(BF16, Outcome.CRASHED, ""), ok(TF32, 1.0, step_ms=(), steps=())]
    assert [each.config for each in points(run_record(trials))] == [BASELINE]


def energetic() -> list[object]:
    return [
        ok(BASELINE, 400.0, Stage.BASELINE, peak_memory_bytes=62 * GIB, energy=joules(2000.0)),
        ok(BF16, 175.0, energy=joules(900.0)),
        ok(TF32, 360.0, peak_memory_bytes=50 * GIB, energy=joules(500.0)),
        ok(FP16, 900.0, peak_memory_bytes=70 * GIB, energy=joules(5000.0)),
    ]


def test_every_run_shows_the_table_in_terminal_and_markdown() -> None:
    record = run_record(energetic(), recommendation=Recommended(config=BF16, verdict=verdict(BF16, 2.3, 8)))
    found = front(points(record))
    assert [each.config for each in found] == [BF16, TF32]
    assert rows(record, found)[0] == [
        "bf16 + channels_last, batch 16",
        "91.43",
        "41.0",
        "0.142 (within 5%)",
        "recommended",
    ]
    for text in (terminal.render(record), markdown.render(record)):
        assert "Beaten by no other in speed, memory and energy at once" in text
        assert "0.256 (within 5%)" in text
    for text in (terminal.render(tie()), markdown.render(tie())):
        assert "Beaten by no other in speed and memory at once" in text
        assert "images/J" not in text


def test_a_run_without_times_has_no_table() -> None:
    assert "Beaten by" not in terminal.render(run_record())
    assert heading([]) == "Beaten by no other in speed and memory at once, by the search"


def test_how_energy_was_measured_is_told_with_how_exact_it_is() -> None:
    row = dict(measured(run_record(energetic())))["energy"]
    assert "NVML's total-energy counter" in row
    assert "up to 5.0%" in row
    power = Energy(joules=9.0, window_s=2.0, source=EnergySource.POWER, readings=10)
    row = dict(measured(run_record([ok(BASELINE, 1.0, energy=power), ok(BF16, 1.0)])))["energy"]
    assert "since NVML has no energy counter here, told in 1 of 2 trials; at either end" in row
    assert dict(measured(faster()))["energy"] == "not measured: NVML told none"
    assert "energy" not in dict(measured(run_record([ok(BASELINE, 1.0)], machine=CPU)))
