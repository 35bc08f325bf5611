"""The rivals do what their sources say, on surfaces made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.config import Circumstances, MatmulPrecision, Precision, TrainingConfig
from autotune.errors import RecordError
from autotune.grid_record import load_grid
from autotune.records import Outcome, Stage
from autotune.tuner.cell_search import CellSearch
from autotune.tuner.order import Order
from autotune.tuner.space import Space
from benchmarks.replay.grids import read_grid
from benchmarks.replay.replayed import Noise, ReplayBench
from benchmarks.replay.rivals import BATCH_RIVALS, RIVALS
from benchmarks.replay.surfaces import Surface

GIB = 2**30
GRID = Path(__file__).parents[2] / "benchmarks" / "replay" / "grids" / "cpu_ssdlite320_mobilenet.json.gz"
NO_NOISE = Noise(0.0, 0.0, 0.0)


def _surface(
    gib: Callable[[TrainingConfig], float],
    step_s: Callable[[TrainingConfig], float] = lambda config: 1.0,
    *,
    memory_gib: int = 24,
    effective_batch: int = 64,
    knobs: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
) -> Surface:
    where = Circumstances("cuda", effective_batch, (8, 0), native_bf16=True)
    configs = Space(where, knobs=knobs, only=only).configs()
    return Surface(
        "made by hand",
        where,
        {config: step_s(config) for config in configs},
        {config: int(gib(config) * GIB) for config in configs},
        memory_gib * GIB,
        knobs=knobs,
        only=only,
    )


def _chosen(rival: str, surface: Surface, budget_s: float = 1e9) -> tuple[TrainingConfig, ReplayBench]:
    bench = ReplayBench(surface, NO_NOISE, 0, budget_s)
    return {**RIVALS, **BATCH_RIVALS}[rival](bench, surface.space), bench


@pytest.mark.parametrize("rival", ["one factor at a time", "Optuna TPE", "Optuna TPE, joint", "random"])
def test_rivals_know_the_extra_knobs_and_none_beside_which_it_is_idle(rival: str) -> None:
    def step_s(config: TrainingConfig) -> float:
        """tf32-like products are the best thing there is, until bf16 is tried beside them."""
        fast = config.matmul_precision is MatmulPrecision.HIGH
        return 1.0 - 0.3 * fast - 0.35 * (config.precision is Precision.BF16) - 0.01 * config.batch_size

    surface = _surface(lambda config: 1.0, step_s, effective_batch=2, knobs=("optimizer", "matmul_precision"))
    config, bench = _chosen(rival, surface, budget_s=150.0)
    assert config in surface.step_s
    if rival == "one factor at a time":
        assert (config.precision, config.matmul_precision) == (Precision.BF16, MatmulPrecision.DEFAULT)
    assert bench.trials > 5


@pytest.mark.parametrize(
    ("gib_an_image", "batch"),
    # 64, 32, 16, ... until it fits; where not even one image does, what was asked for stands.
    [(0.3, 64), (0.5, 32), (1.6, 8), (20.0, 1), (30.0, 64)],
)
def test_accelerate_halves_from_the_effective_batch(gib_an_image: float, batch: int) -> None:
    config, _ = _chosen("Accelerate halving", _surface(lambda config: gib_an_image * config.batch_size))
    assert (config.batch_size, config.precision) == (batch, Precision.DEFAULT)


@pytest.mark.parametrize(("gib_an_image", "batch"), [(0.3, 64), (0.5, 32), (1.6, 8), (13.0, 1)])
def test_lightning_doubles_from_two_and_halves_what_failed(gib_an_image: float, batch: int) -> None:
    config, bench = _chosen("Lightning doubling", _surface(lambda config: gib_an_image * config.batch_size))
    assert config.batch_size == batch
    assert bench.trials >= 1


@pytest.mark.parametrize(
    ("gib_an_image", "memory_gib", "batch"),
    [
        (0.25, 24, 32),  # 60% of 24 GiB less 2, over 0.25: 48, of which 32 divides the effective batch
        (0.25, 80, 64),  # 184: all of it
        (2.0, 24, 4),  # 6
        (23.0, 24, 16),  # two points at least make a line: the default batch
    ],
)
def test_ultralytics_puts_a_line_at_60_percent_and_trains_with_amp(
    gib_an_image: float, memory_gib: int, batch: int
) -> None:
    surface = _surface(lambda config: 2.0 + gib_an_image * config.batch_size, memory_gib=memory_gib)
    config, _ = _chosen("Ultralytics 60% fit", surface)
    assert (config.batch_size, config.precision) == (batch, Precision.FP16)


def test_ultralytics_stays_below_the_first_batch_that_failed() -> None:
    """Memory that leaps at 16: the line through what ran, 2 GiB and 0.1 an image, would put 64 at 60% and more."""
    surface = _surface(lambda config: 2.0 + 0.1 * config.batch_size if config.batch_size < 16 else 100.0)
    assert _chosen("Ultralytics 60% fit", surface)[0].batch_size == 8


def test_one_factor_at_a_time_misses_what_only_two_settings_bring_together() -> None:
    def step_s(config: TrainingConfig) -> float:
        half, last = config.precision is Precision.BF16, bool(config.channels_last)
        return 0.5 if half and last else 1.1 if half or last else 1.0

    surface = _surface(lambda config: 1.0, step_s, effective_batch=4)
    found, _ = _chosen("one factor at a time", surface)
    assert surface.step_s[found] == 1.0
    best, _ = _chosen("exhaustive grid", surface)
    assert surface.step_s[best] == 0.5


@pytest.mark.parametrize("rival", ["random", "one factor at a time", "Optuna TPE", "Optuna TPE, joint"])
def test_what_has_no_end_of_its_own_ends_with_its_time(rival: str) -> None:
    pytest.importorskip("optuna")
    surface = _surface(lambda config: 0.3 * config.batch_size, lambda config: 1.0 / config.batch_size)
    config, bench = _chosen(rival, surface, budget_s=30.0)
    longest_s = 2.0 + 11 * max(surface.step_s.values())
    assert 30.0 <= bench.spent_s <= 30.0 + longest_s
    assert surface.fits(config)
    # With all the time there is each config is tried once at the most, and the search ends.
    _, bench = _chosen(rival, _surface(lambda config: 1.0, effective_batch=2))
    assert bench.trials <= len(Space(surface.where).configs())


@pytest.mark.parametrize("rival", [*RIVALS, *BATCH_RIVALS])
@pytest.mark.parametrize("only", [("precision=bf16", "channels_last=true"), ("precision=fp32,bf16",)])
def test_rivals_try_nothing_that_only_leaves_out(rival: str, only: tuple[str, ...]) -> None:
    def step_s(config: TrainingConfig) -> float:
        return 1.0 - 0.3 * (config.precision is Precision.BF16) - 0.2 * bool(config.channels_last)

    surface = _surface(lambda config: config.batch_size, step_s, effective_batch=8, only=only)
    config, _ = _chosen(rival, surface, budget_s=150.0)
    assert config in surface.step_s
    if rival in RIVALS:
        assert (config.precision, config.channels_last) == (Precision.BF16, True)


def test_our_search_is_replayed_where_only_leaves_out_the_reference_of_the_numerics() -> None:
    def step_s(config: TrainingConfig) -> float:
        return 0.6 if config.precision is Precision.BF16 else 1.0

    surface = _surface(lambda config: 2.5 * config.batch_size, step_s, effective_batch=8, only=("precision=bf16",))
    bench = ReplayBench(surface, Noise(0.007), 0)
    found = CellSearch().run(bench, surface.space)
    assert found.recommendation.config.precision is Precision.BF16
    reference = surface.space.baseline.model_copy(update={"precision": Precision.FP32})
    checked = bench.measure(Order(Stage.NUMERICS, reference, range(6)))
    assert (checked.config, len(checked.losses), checked.duration_s) == (reference, 6, 2.0 + 6 * 1.0)


def test_a_recorded_grid_keeps_what_failed_for_another_reason_than_memory() -> None:
    surface = read_grid(GRID)
    failed = [trial for trial in load_grid(GRID).trials if trial.outcome is not Outcome.OK]
    assert failed
    for trial in failed:
        assert surface.outcome(trial.config) is trial.outcome
        assert not surface.fits(trial.config)


def test_a_grid_that_was_cut_off_in_its_first_round_is_refused(tmp_path: Path) -> None:
    grid = load_grid(GRID)
    first = tuple(trial for trial in grid.trials if trial.block == 0)
    grid.model_copy(update={"complete": False, "trials": first}).save(tmp_path / "grid.json")
    with pytest.raises(RecordError, match="was interrupted"):
        read_grid(tmp_path / "grid.json")


@pytest.mark.parametrize(
    ("steps", "times", "held"),
    # A pass takes eight steps at 24 images a step, of which 64 come in turn.
    [(10, 1, 8), (10, 2, 16), (8, 1, 8), (7, 1, 7)],
)
def test_of_recorded_processes_whole_passes_over_the_images_are_replayed(
    steps: int, times: int, held: int, tmp_path: Path
) -> None:
    grid = load_grid(GRID)
    trials = tuple(each.model_copy(update={"step_ms": times * each.step_ms[:steps]}) for each in grid.trials)
    grid.model_copy(update={"trials": trials}).save(tmp_path / "grid.json")
    surface = read_grid(tmp_path / "grid.json")
    assert surface.processes is not None
    lengths = {len(each) for config in surface.processes for each in surface.processes[config] if surface.fits(config)}
    assert lengths == {held}
    bench = ReplayBench(surface, NO_NOISE, 0)
    assert bench.batches_in_turn == surface.batches_in_turn == min(8, held)
    for config in filter(surface.fits, surface.step_s):
        factors = surface.processes[config]
        assert sum(map(sum, factors)) / sum(map(len, factors)) == pytest.approx(1.0)


def test_a_recording_that_holds_no_whole_pass_is_replayed_as_it_is() -> None:
    surface = read_grid(GRID.with_name("cpu_fcos_resnet50.json.gz"))
    assert surface.processes is not None
    assert surface.batches_in_turn == 10, "of sixteen"
    assert {len(each) for config in surface.processes for each in surface.processes[config]} <= {10, 1}
