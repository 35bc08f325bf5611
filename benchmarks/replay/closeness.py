"""python -m benchmarks.replay.closeness: why a grid is hard to search: what lies close, and what steps vary by.

Of the fastest configs: how many lie within 4% of the best, and how far behind the next three are; then the standard
deviations of their steps, as ln: what the images have in common for all of them, what the images make of one config
beside the others, and what one process's step differs from another's on the same images.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev, variance

from tabulate import tabulate

from benchmarks.replay.grids import read_grid
from benchmarks.replay.surfaces import Surface

__all__ = ["spreads"]

_CLOSE = 0.04
_FASTEST = 20
_HEADERS = ("grid", "within 4%", "next three behind", "images", "config by images", "steps")


def spreads(processes: Sequence[Sequence[Sequence[float]]]) -> tuple[float, float, float]:
    """Standard deviations as ln, by moments: of the images, of configs by images, and of what is left.

    processes: by config, by process, the time of each step; all of as many processes and steps, two at least."""
    logs = [[_centred([math.log(time) for time in each]) for each in config] for config in processes]
    steps, repeats = range(len(logs[0][0])), len(logs[0])
    # Centring a process takes a degree of freedom from its steps.
    lost = len(steps) / (len(steps) - 1)
    rest = lost * fmean(variance([each[step] for each in config]) for config in logs for step in steps)
    of_config = [[fmean(each[step] for each in config) for step in steps] for config in logs]
    of_image = [fmean(config[step] for config in of_config) for step in steps]
    apart = fmean(variance([config[step] - of_image[step] for step in steps]) for config in of_config)
    return stdev(of_image), math.sqrt(max(0.0, apart - rest / repeats)), math.sqrt(rest)


def _centred(logs: Sequence[float]) -> list[float]:
    middle = fmean(logs)
    return [each - middle for each in logs]


def _row(surface: Surface) -> list[str]:
    fits = [config for config in surface.step_s if surface.fits(config)]
    fastest = sorted(fits, key=surface.step_s.__getitem__)[:_FASTEST]
    behind = [surface.step_s[config] / surface.step_s[fastest[0]] - 1.0 for config in fastest]
    assert surface.processes is not None
    parts = spreads([surface.processes[config] for config in fastest])
    close = str(sum(each <= _CLOSE for each in behind))
    return [surface.name, close, ", ".join(f"{each:.1%}" for each in behind[1:4]), *(f"{part:.1%}" for part in parts)]


def main() -> int:
    grids = sorted(Path(__file__).parent.joinpath("grids").glob("*.json.gz"))
    print(tabulate([_row(read_grid(path)) for path in grids], headers=_HEADERS, disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
