"""python -m benchmarks.replay [--replays N] [--search NAME ...] [--on KIND ...] [--budget S]: how well each does.

Every search is replayed on 100 synthetic surfaces (seeds 0 to 99; our own was tuned on seeds from 1000) at three levels
of noise; our own also where all configs are equally fast, and where some take long to start; and all on recorded grids,
with processes that differ as those recorded do, then at the same levels.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import fmean, median

from tabulate import tabulate

from autotune.config import TrainingConfig
from autotune.errors import RecordError
from autotune.records import VerdictKind
from autotune.tuner.cell_search import CellSearch
from benchmarks.replay.grids import read_grid
from benchmarks.replay.replayed import Noise, ReplayBench
from benchmarks.replay.rivals import BATCH_RIVALS, RIVALS, exhaustive_s
from benchmarks.replay.surfaces import Surface, equal, slow_starts, synthetic

_OURS = "autotune"
_SURFACES = 100
_NOISES = (0.002, 0.007, 0.015)
# On a recorded grid first what its processes differed by themselves, None.
_RECORDED = (None, *_NOISES)
_RIVALS = {**RIVALS, **BATCH_RIVALS}
_FOR_OURS = ("all equal", "slow starts")
_MADE_UP = ("synthetic", *_FOR_OURS)
# These end by themselves; the other rivals get the device time that our own search took in the same replay.
_ENDS = {"exhaustive grid", *BATCH_RIVALS}


@dataclass(frozen=True)
class Replay:
    """regret: how much longer a step takes than the best config's, as a share. cost: device time over the exhaustive
    grid's. covered: whether the interval holds the true ratio; None where a search gives none. equal: whether it says
    that there is no real difference."""

    surface: str
    regret: float
    out_of_memory: bool
    seconds: float
    cost: float
    covered: bool | None = None
    equal: bool | None = None


def replay(name: str, source: Callable[[], Surface], noise: float | None, seed: int, budget_s: float) -> Replay:
    surface = source()
    if name != _OURS and name not in _ENDS:
        budget_s = _our_s(source, noise, seed, budget_s)
    bench = ReplayBench(surface, _noise(noise), seed, budget_s)
    covered = equal = None
    if name == _OURS:
        config, covered, equal = _ours(bench, surface)
    else:
        config = _RIVALS[name](bench, surface.space)
    fits = surface.fits(config)
    return Replay(
        surface=surface.name,
        regret=surface.step_s[config] / surface.best_s - 1.0 if fits else 1.0,
        out_of_memory=not fits,
        seconds=bench.spent_s,
        cost=bench.spent_s / _grid_s(source),
        covered=covered,
        equal=equal,
    )


def _noise(process: float | None) -> Noise:
    """What was recorded holds the drift of its machine."""
    return Noise(process, drift=0.0) if process is None else Noise(process)


def _ours(bench: ReplayBench, surface: Surface) -> tuple[TrainingConfig, bool | None, bool]:
    found = CellSearch().run(bench, surface.space)
    result = found.recommendation.verdict
    covered = None
    if result.low is not None and result.high is not None and result.candidate != found.baseline:
        truth = surface.step_s[found.baseline] / surface.step_s[result.candidate]
        covered = result.low <= truth <= result.high
    return found.recommendation.config, covered, result.kind is VerdictKind.NO_REAL_DIFFERENCE


@cache
def _our_s(source: Callable[[], Surface], noise: float | None, seed: int, budget_s: float) -> float:
    """The device time of our own search in the same replay, in seconds."""
    surface = source()
    bench = ReplayBench(surface, _noise(noise), seed, budget_s)
    _ours(bench, surface)
    return bench.spent_s


@cache
def _grid_s(source: Callable[[], Surface]) -> float:
    surface = source()
    return exhaustive_s(ReplayBench(surface, Noise(0.0, 0.0, 0.0), 0), surface.space)


def _summary(name: str, noise: float | None, on: str, replays: Sequence[Replay]) -> dict[str, object]:
    regrets = [each.regret for each in replays]
    costs = sorted(each.cost for each in replays)
    by_surface: dict[str, list[bool]] = {}
    for each in replays:
        by_surface.setdefault(each.surface, []).append(each.regret <= 0.01)
    worst = min(by_surface, key=lambda surface: fmean(by_surface[surface]))
    covered = [each.covered for each in replays if each.covered is not None]
    return {
        "search": name,
        "on": on,
        "noise": "recorded" if noise is None else noise,
        "replays": len(replays),
        "within_1_percent": fmean(regret <= 0.01 for regret in regrets),
        "within_2_percent": fmean(regret <= 0.02 for regret in regrets),
        "median_regret": median(regrets),
        "worst_surface": worst,
        "worst_within_1_percent": fmean(by_surface[worst]),
        "out_of_memory": fmean(each.out_of_memory for each in replays),
        "device_seconds": fmean(each.seconds for each in replays),
        "cost": fmean(costs),
        "cost_99": costs[min(len(costs) - 1, int(0.99 * len(costs)))],
        "covered": fmean(covered) if covered else None,
        "no_real_difference": fmean(bool(each.equal) for each in replays) if name == _OURS else None,
    }


def _sources(grids: Sequence[Path]) -> dict[str, list[Callable[[], Surface]]]:
    made = {
        "synthetic": [cache(partial(synthetic, seed)) for seed in range(_SURFACES)],
        "all equal": [cache(partial(equal, seed)) for seed in range(_SURFACES)],
        "slow starts": [cache(partial(slow_starts, seed)) for seed in range(_SURFACES)],
    }
    return {**made, **{path.stem.partition(".")[0]: [cache(partial(read_grid, path))] for path in grids}}


def _job(task: tuple[str, str, float | None, int, tuple[Path, ...], float]) -> dict[str, object]:
    name, on, noise, replays, grids, budget_s = task
    sources = _sources(grids)[on]
    done = [replay(name, sources[number % len(sources)], noise, number, budget_s) for number in range(replays)]
    return _summary(name, noise, on, done)


def _tasks(
    searches: Sequence[str], on_these: Sequence[str], replays: int, grids: tuple[Path, ...], budget_s: float
) -> Iterator[tuple[object, ...]]:
    for on in on_these or _sources(grids):
        for noise in _NOISES if on in _MADE_UP else _RECORDED:
            for name in searches:
                if on not in _FOR_OURS or name == _OURS:
                    yield name, on, noise, replays, grids, budget_s


_COLUMNS = {
    "on": "on",
    "noise": "noise",
    "search": "search",
    "replays": "replays",
    "within_1_percent": "within 1%",
    "within_2_percent": "within 2%",
    "median_regret": "median regret",
    "worst_within_1_percent": "worst surface",
    "out_of_memory": "out of memory",
    "device_seconds": "device s",
    "cost": "of the grid",
    "cost_99": "99% below",
    "covered": "covered",
    "no_real_difference": "no difference",
}
_AS_FOUND = ("on", "search", "replays", "device_seconds")


def _cells(row: dict[str, object]) -> list[str]:
    cells = []
    for column in _COLUMNS:
        value = row[column]
        if value is None:
            cells.append("")
        elif column == "device_seconds":
            cells.append(f"{value:.0f}")
        else:
            cells.append(str(value) if column in _AS_FOUND or isinstance(value, str) else f"{value:.1%}")
    return cells


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--replays", type=int, default=1000, help="of each search, surface kind and noise")
    parser.add_argument("--search", action="append", choices=[_OURS, *_RIVALS], help="default: all")
    parser.add_argument(
        "--on",
        action="append",
        help="`synthetic`, `all equal`, `slow starts` or a grid's name, its file's up to the first dot; default: all",
    )
    parser.add_argument("--grid", action="append", type=Path, default=None, help="a recorded grid; default: all kept")
    parser.add_argument("--budget", type=float, default=1e9, help="seconds that our own search has; default: no limit")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    grids = tuple(options.grid or sorted(Path(__file__).parent.joinpath("grids").glob("*.json.gz")))
    for path in options.grid or ():
        try:
            read_grid(path)
        except RecordError as error:
            parser.error(str(error))
    there_are = _sources(grids)
    for on in options.on or ():
        if on not in there_are:
            parser.error(f"--on {on}: not one of {', '.join(there_are)}")
    with ProcessPoolExecutor() as pool:
        rows = list(
            pool.map(
                _job,
                _tasks(options.search or [_OURS, *_RIVALS], options.on or [], options.replays, grids, options.budget),
            )
        )
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print(tabulate([_cells(row) for row in rows], headers=list(_COLUMNS.values()), disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
