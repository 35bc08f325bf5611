"""A grid: every config of a job measured, for replays of searches and for reading off what settings do."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from autotune.errors import RecordError
from autotune.files import write_whole
from autotune.record_base import Record
from autotune.records import SCHEMA_VERSION, Job, Machine, Outcome, Trial, WorkloadFacts

__all__ = ["Grid", "load_grid"]


class Grid(Record):
    """trials: of every config one in each round, which is their block, each in a process of its own, in random order;
    none after one that failed. knobs: the extra knobs that were asked for, whose every value each config was measured
    with. only: the settings that were restricted to some values, as `cudnn_benchmark=false`. steps: of a config in all
    rounds, at least. complete: no round was cut off."""

    schema_version: int = SCHEMA_VERSION
    started: str
    command: tuple[str, ...]
    job: Job
    machine: Machine
    workload: WorkloadFacts
    knobs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    steps: int
    complete: bool
    trials: tuple[Trial, ...]

    @property
    def summary(self) -> str:
        """What it holds: `40 trials, interrupted; 3 configs failed: 1 crashed, 2 out_of_memory`."""
        # What has failed is not started again.
        last = {trial.config: trial.outcome for trial in self.trials}
        outcomes = Counter(outcome for outcome in last.values() if outcome is not Outcome.OK)
        told = f"{len(self.trials)} trials" + ("" if self.complete else ", interrupted")
        if not outcomes:
            return told
        configs = "1 config" if outcomes.total() == 1 else f"{outcomes.total()} configs"
        each = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items()))
        return f"{told}; {configs} failed: {each}"

    def save(self, path: str | Path) -> None:
        """Write the grid as JSON, by gzip where the name ends in .gz, whole or not at all. Raises OSError."""
        path, content = Path(path), self.to_json().encode()
        write_whole(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def load_grid(path: str | Path) -> Grid:
    """Read a grid. Raises RecordError naming what is at fault."""
    path = Path(path)
    try:
        content = path.read_bytes()
        return Grid.model_validate_json(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (OSError, EOFError, zlib.error) as error:
        raise RecordError(f"{path}: no grid can be read there ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path}: {field or 'not a grid'}: {first['msg']}") from None
