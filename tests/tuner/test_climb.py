"""Which rungs come first: all side by side where cells are alike, the leaders' where they are not."""

from __future__ import annotations

import math

import pytest

from autotune.config import Circumstances, TrainingConfig
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.cell import Cell
from autotune.tuner.climb import Climb
from autotune.tuner.objective import Objective
from autotune.tuner.standings import Standings

BASELINE = TrainingConfig.baseline(Circumstances("cuda", 16, (9, 0), native_bf16=True))
SIZES = [16, 8, 4, 2, 1]


def _trial(config: TrainingConfig, gain: float, *, gave_up: bool = False) -> Trial:
    ms = () if gave_up else (100.0 * math.exp(-gain),) * 4
    return Trial(
        number=1,
        stage=Stage.SETTINGS,
        config=config,
        outcome=Outcome.OK,
        step_ms=ms,
        steps=tuple(range(len(ms))),
        peak_memory_bytes=1,
        gave_up=gave_up,
    )


def _asked(gains: list[float], a_rung: float, room: int = 100, *, gave_up: bool = False) -> list[tuple[int, int]]:
    """(cell, batch size) in the order asked for; gains: of the cells at 16 images; a_rung: what each rung adds."""
    settings = [BASELINE.model_copy(update={"precision": each}) for each in ("fp32", "tf32", "bf16", "fp16")]
    cells = [Cell(each) for each in settings[: len(gains)]]
    standings = Standings(Objective.THROUGHPUT, None)
    standings.begin(_trial(BASELINE, 0.0))
    for cell, gain in zip(cells, gains, strict=True):
        trial = _trial(cell.settings.at_batch_size(16, 16), gain)
        standings.take(trial)
        cell.take(trial)
    asked: list[tuple[int, int]] = []

    def measure(cell: Cell, config: TrainingConfig) -> Trial | None:
        if len(asked) >= room:
            return None
        place = cells.index(cell)
        asked.append((place, config.batch_size))
        trial = _trial(config, gains[place] + a_rung * SIZES.index(config.batch_size), gave_up=gave_up)
        standings.take(trial)
        return trial

    Climb(standings, measure, lambda: standings.lead - 0.3).down(cells, SIZES)
    return asked


@pytest.mark.parametrize(("cells", "told"), [(3, ""), (4, "batch sizes: after 40 trials of them")])
def test_what_there_were_no_trials_left_for_is_told(cells: int, told: str) -> None:
    """Twelve batch sizes each, of which every smaller one is faster."""
    sizes = [96, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1]
    own = [Cell(BASELINE.model_copy(update={"precision": each})) for each in ("fp32", "tf32", "bf16", "fp16")[:cells]]
    standings = Standings(Objective.THROUGHPUT, None)
    standings.begin(_trial(BASELINE.at_batch_size(96, 96), 0.0))
    for cell in own:
        trial = _trial(cell.settings.at_batch_size(96, 96), 0.2)
        standings.take(trial)
        cell.take(trial)

    def measure(cell: Cell, config: TrainingConfig) -> Trial | None:
        trial = _trial(config, 0.2 + 0.01 * sizes.index(config.batch_size))
        standings.take(trial)
        return trial

    climb = Climb(standings, measure, lambda: standings.lead - 0.3)
    climb.down(own, sizes)
    assert "".join(climb.notes()).startswith(told)
    assert bool(climb.notes()) == bool(told)


def test_cells_that_are_alike_are_climbed_down_side_by_side() -> None:
    assert _asked([0.2, 0.2], 0.01, room=6) == [(0, 8), (1, 8), (0, 4), (1, 4), (0, 2), (1, 2)]


def test_who_leads_goes_first_and_leaves_nobody_out_where_there_is_room() -> None:
    assert _asked([0.1, 0.2], 0.01, room=5) == [(1, 8), (1, 4), (1, 2), (1, 1), (0, 8)]
    assert len(_asked([0.1, 0.2], 0.01)) == 8


def test_who_is_a_little_behind_follows_a_few_rungs_later() -> None:
    assert _asked([0.17, 0.2], 0.0, room=4) == [(1, 8), (1, 4), (0, 8), (1, 2)]


@pytest.mark.parametrize("gains", [[0.2], [0.0, 0.2]])
def test_what_is_given_up_at_a_batch_size_is_climbed_no_further(gains: list[float]) -> None:
    asked = _asked(gains, 0.01, gave_up=True)
    # A cell that lags has a smaller loss for it, and may be unlucky once.
    assert asked.count((len(gains) - 1, 8)) == 1
    assert (len(gains) - 1, 4) not in asked


def test_cells_out_of_reach_are_left_alone_but_for_the_second_best() -> None:
    assert {place for place, _ in _asked([-0.2, 0.2, -0.3], 0.01)} == {0, 1}


def test_what_is_given_up_brings_no_more_than_it_did_however_far_behind_its_cell_is() -> None:
    # Given up is what lies 0.3 behind the leader: more than this cell has ever brought.
    asked = _asked([0.7, 0.0], 0.01, gave_up=True)
    assert [size for place, size in asked if place == 1] == [8, 4]


def test_rungs_that_were_refused_are_asked_for_again_once_there_is_room() -> None:
    cell = Cell(BASELINE)
    standings = Standings(Objective.THROUGHPUT, None)
    baseline = _trial(BASELINE, 0.0)
    standings.begin(baseline)
    cell.take(baseline)
    room: list[int] = []
    asked: list[int] = []

    def measure(cell: Cell, config: TrainingConfig) -> Trial | None:
        asked.append(config.batch_size)
        return _trial(config, 0.1 * len(asked)) if room else None

    climb = Climb(standings, measure, lambda: -0.3)
    for _ in range(50):
        climb.down([cell], SIZES)
    assert asked == [8] * 50
    room.append(1)
    climb.down([cell], SIZES)
    assert asked[50:] == [8, 4, 2, 1]
