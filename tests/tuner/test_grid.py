"""Grids: every config, round by round; what fails is not started again; Ctrl-C keeps what there is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from autotune.errors import RecordError
from autotune.grid_record import load_grid
from autotune.records import DataSpec, ModelSpec, Outcome, Stage
from autotune.tuner.grid import record_grid
from autotune.tuner.request import Request
from benchmarks.replay.grids import read_grid


def _request(data: DataSpec, factory: str) -> Request:
    return Request(model=ModelSpec(name=f"tiny:{factory}"), data=data, device="cpu", effective_batch=4, threads=1)


def test_every_config_is_timed_in_every_round_and_what_fails_is_not_started_again(
    tiny_data: DataSpec, tmp_path: Path
) -> None:
    said: list[str] = []
    grid = record_grid(_request(tiny_data, "crashes_in_channels_last"), steps=7, rounds=3, say=said.append)
    assert grid.complete
    timed = [trial for trial in grid.trials if trial.outcome is Outcome.OK]
    failed = [trial for trial in grid.trials if trial.outcome is not Outcome.OK]
    assert {trial.config.batch_size for trial in timed} == {1, 2, 4}
    assert set(Counter(trial.config for trial in timed).values()) == {3}
    assert {(trial.block, trial.steps) for trial in timed} == {(number, (0, 1, 2)) for number in range(3)}
    assert {(trial.config.channels_last, trial.block) for trial in failed} == {(True, 0)}
    # bf16 is among the precisions where this CPU has it.
    assert len(failed) == 3 * len({trial.config.precision for trial in timed})
    assert {trial.stage for trial in grid.trials} == {Stage.SETTINGS}
    orders = [[trial.config for trial in timed if trial.block == number] for number in range(3)]
    assert len({tuple(order) for order in orders}) > 1, "each round has its own order"
    assert len(said) == len(grid.trials)

    grid.save(tmp_path / "grid.json.gz")
    assert load_grid(tmp_path / "grid.json.gz") == grid
    surface = read_grid(tmp_path / "grid.json.gz")
    assert surface.processes is not None
    for config in {trial.config for trial in timed}:
        samples = [ms for trial in timed if trial.config == config for ms in trial.step_ms]
        assert surface.step_s[config] == pytest.approx(sum(samples) / len(samples) / 1000.0)
        processes = surface.processes[config]
        assert len(processes) == 3
        assert {len(factors) for factors in processes} == {3}
        assert sum(map(sum, processes)) / 9 == pytest.approx(1.0), "what varies leaves the mean where it is"
    assert not any(surface.fits(trial.config) for trial in failed)


def test_passes_over_the_images_stand_for_processes_where_one_was_recorded(tiny_data: DataSpec, tmp_path: Path) -> None:
    # Sixty images, four a step: the same come again after fifteen steps.
    grid = record_grid(_request(tiny_data, "plain"), steps=34, rounds=1)
    grid.save(tmp_path / "grid.json")
    surface = read_grid(tmp_path / "grid.json")
    assert surface.processes is not None
    for trial in grid.trials:
        first, second = surface.processes[trial.config]
        mean_ms = sum(trial.step_ms[:30]) / 30
        assert first == pytest.approx([ms / mean_ms for ms in trial.step_ms[:15]])
        assert second == pytest.approx([ms / mean_ms for ms in trial.step_ms[15:30]])


def test_a_grid_in_which_nothing_trained_is_refused(tiny_data: DataSpec, tmp_path: Path) -> None:
    grid = record_grid(_request(tiny_data, "plain"), steps=1, rounds=1)
    lost = [trial.model_copy(update={"outcome": Outcome.CRASHED, "step_ms": ()}) for trial in grid.trials]
    grid.model_copy(update={"trials": tuple(lost)}).save(tmp_path / "grid.json")
    with pytest.raises(RecordError, match="nothing in it trained"):
        read_grid(tmp_path / "grid.json")


def test_ctrl_c_keeps_what_was_measured(tiny_data: DataSpec) -> None:
    calls: list[str] = []

    def interrupt(sentence: str) -> None:
        calls.append(sentence)
        if len(calls) == 3:
            raise KeyboardInterrupt

    grid = record_grid(_request(tiny_data, "plain"), steps=1, say=interrupt)
    assert not grid.complete
    assert len(grid.trials) == 2
