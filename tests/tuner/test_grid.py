"""Grids: every config, round by round; what fails is not started again; Ctrl-C keeps what there is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from autotune.config import MatmulPrecision, OptimizerImplementation, Precision
from autotune.errors import RecordError
from autotune.grid_record import load_grid
from autotune.records import DataSpec, ModelSpec, Outcome, Stage
from autotune.tuner.grid import record_grid
from autotune.tuner.request import Request
from benchmarks.replay.grids import read_grid
from benchmarks.replay.replayed import Noise, ReplayBench


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
    # Sixty images, four a step: a pass over them takes fifteen steps, of which none is taken in part.
    assert {(trial.block, trial.steps) for trial in timed} == {(number, tuple(range(15))) for number in range(3)}
    assert {(trial.config.channels_last, trial.block) for trial in failed} == {(True, 0)}
    # bf16 is among the precisions where this CPU has it.
    assert len(failed) == 3 * len({trial.config.precision for trial in timed})
    assert {trial.stage for trial in grid.trials} == {Stage.SETTINGS}
    orders = [[trial.config for trial in timed if trial.block == number] for number in range(3)]
    assert len({tuple(order) for order in orders}) > 1, "each round has its own order"
    assert len(said) == len(grid.trials)
    assert grid.summary == f"{len(grid.trials)} trials; {len(failed)} configs failed: {len(failed)} crashed"

    grid.save(tmp_path / "grid.json.gz")
    assert load_grid(tmp_path / "grid.json.gz") == grid
    surface = read_grid(tmp_path / "grid.json.gz")
    assert surface.processes is not None
    for config in {trial.config for trial in timed}:
        samples = [ms for trial in timed if trial.config == config for ms in trial.step_ms]
        assert surface.step_s[config] == pytest.approx(sum(samples) / len(samples) / 1000.0)
        processes = surface.processes[config]
        assert len(processes) == 3
        assert {len(factors) for factors in processes} == {15}
        assert sum(map(sum, processes)) / 45 == pytest.approx(1.0), "what varies leaves the mean where it is"
    assert not any(surface.fits(trial.config) for trial in failed)


def test_with_knobs_every_value_of_them_is_measured_beside_every_setting(tiny_data: DataSpec, tmp_path: Path) -> None:
    request = replace(_request(tiny_data, "plain"), effective_batch=2, knobs=("optimizer", "matmul_precision"))
    grid = record_grid(request, steps=1, rounds=1)
    configs = [trial.config for trial in grid.trials]
    assert len(set(configs)) == len(configs)
    settings = {(config.batch_size, config.precision, config.channels_last) for config in configs}
    codes = [OptimizerImplementation(each) for each in ("default", "foreach", "fused")]
    plain = {
        (each.batch_size, each.precision, each.channels_last, each.optimizer_implementation)
        for each in configs
        if each.matmul_precision is MatmulPrecision.DEFAULT
    }
    assert plain == {(*each, code) for each in settings for code in codes}
    # Beside autocast it changes nothing, and where the CPU has no bf16 neither.
    has_bf16 = any(config.precision is Precision.BF16 for config in configs)
    products = {config.precision for config in configs if config.matmul_precision is MatmulPrecision.MEDIUM}
    assert products == ({Precision.FP32} if has_bf16 else set())

    grid.save(tmp_path / "grid.json")
    surface = read_grid(tmp_path / "grid.json")
    assert set(surface.step_s) == set(configs) == set(surface.space.configs())
    assert 0.0 < surface.start_s < max(trial.duration_s for trial in grid.trials)


def test_a_grid_may_leave_settings_alone(tiny_data: DataSpec, tmp_path: Path) -> None:
    request = replace(_request(tiny_data, "plain"), effective_batch=4, only=("channels_last=false",))
    grid = record_grid(request, steps=1, rounds=1)
    configs = {trial.config for trial in grid.trials}
    assert {config.channels_last for config in configs} == {False}
    assert {config.batch_size for config in configs} == {4, 2, 1}
    grid.save(tmp_path / "grid.json")
    surface = read_grid(tmp_path / "grid.json")
    assert configs == set(surface.step_s) == set(surface.space.configs())


def test_what_compiles_is_part_of_a_grid_with_what_that_takes(tiny_data: DataSpec, tmp_path: Path) -> None:
    request = replace(_request(tiny_data, "compilable"), effective_batch=1, knobs=("compile",))
    grid = record_grid(request, steps=2, rounds=1)
    compiled = {trial.config for trial in grid.trials if trial.config.compile}
    assert len(compiled) == len(grid.trials) / 2
    assert {trial.outcome for trial in grid.trials} == {Outcome.OK}, [
        trial.detail for trial in grid.trials if trial.detail
    ]
    grid.save(tmp_path / "grid.json")
    surface = read_grid(tmp_path / "grid.json")
    assert compiled <= set(surface.compiling_s)
    seconds = {trial.config: trial.compilation.seconds for trial in grid.trials if trial.compilation}
    for config in compiled:
        assert surface.compiling_s[config] > 0.9 * seconds[config], "starting it takes what compiling takes"


def test_at_a_named_noise_recorded_processes_differ_by_that_alone(tiny_data: DataSpec, tmp_path: Path) -> None:
    grid = record_grid(_request(tiny_data, "plain"), steps=6, rounds=3)
    means_ms = [100.0, 130.0, 160.0]
    trials = [
        trial.model_copy(update={"step_ms": (0.9 * means_ms[trial.block or 0], 1.1 * means_ms[trial.block or 0])})
        for trial in grid.trials
    ]
    grid.model_copy(update={"trials": tuple(trials)}).save(tmp_path / "grid.json")
    surface = read_grid(tmp_path / "grid.json")
    config = surface.space.baseline

    def means(process: float | None) -> list[float]:
        bench = ReplayBench(surface, Noise(process, drift=0.0), 0)
        return sorted({round(fmean(bench.time_ms(config, 2) or ()), 9) for _ in range(50)})

    assert means(0.0) == [130.0]
    assert means(None) == means_ms, "as recorded: one of the three"
    assert len(means(0.01)) == 50


def test_passes_over_the_images_stand_for_processes_where_one_was_recorded(tiny_data: DataSpec, tmp_path: Path) -> None:
    # The same images come again after fifteen steps.
    grid = record_grid(_request(tiny_data, "plain"), steps=17, rounds=1)
    longer = tuple(each.model_copy(update={"step_ms": (*each.step_ms, *each.step_ms[:4])}) for each in grid.trials)
    grid.model_copy(update={"trials": longer}).save(tmp_path / "grid.json")
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


def test_ctrl_c_keeps_what_was_measured(tiny_data: DataSpec, tmp_path: Path) -> None:
    calls: list[str] = []

    def interrupt(sentence: str) -> None:
        calls.append(sentence)
        if len(calls) == 3:
            raise KeyboardInterrupt

    grid = record_grid(_request(tiny_data, "plain"), steps=1, say=interrupt)
    assert not grid.complete
    assert len(grid.trials) == 2
    assert grid.summary == "2 trials, interrupted"
    grid.save(tmp_path / "grid.json")
    with pytest.raises(RecordError, match="interrupted in its first round"):
        read_grid(tmp_path / "grid.json")


def test_the_whole_rounds_of_an_interrupted_recording_are_replayed(tiny_data: DataSpec, tmp_path: Path) -> None:
    whole = record_grid(_request(tiny_data, "plain"), steps=4, rounds=2)
    of_first = [trial for trial in whole.trials if trial.block == 0]
    cut = whole.model_copy(update={"complete": False, "trials": whole.trials[: len(of_first) + 2]})
    cut.save(tmp_path / "cut.json")
    only = whole.model_copy(update={"trials": tuple(of_first)})
    only.save(tmp_path / "only.json")
    assert read_grid(tmp_path / "cut.json").step_s == read_grid(tmp_path / "only.json").step_s
