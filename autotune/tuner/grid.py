"""Records a grid: every config in a process of its own."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime

from autotune.config import TrainingConfig
from autotune.grid_record import Grid
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.bench import LiveBench, Order, circumstances
from autotune.tuner.request import Request, job_of
from autotune.tuner.session import Server
from autotune.tuner.space import Space

__all__ = ["record_grid"]

_STEP_TIMEOUT_S = 600.0


def record_grid(request: Request, steps: int, *, say: Callable[[str], None] = lambda sentence: None) -> Grid:
    """Measure every config with so many timed steps, in random order, so that a drift of the device harms all alike.

    Ctrl-C ends it early: the grid then holds what was measured.
    Raises AutotuneError where nothing can be measured: a name, path, device or data set that does not do.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with Server(request.device) as server:
        job = job_of(request, server.machine.device_type)
        where = circumstances(job, server.machine)
        workload = server.prepare(job)
        bench = LiveBench(job, server.machine, None, math.inf, lambda progress: None)
        bench.use(server)
        complete = False
        try:
            _measure(bench, Space(where, request.baseline), steps, say)
            complete = True
        except KeyboardInterrupt:
            if not bench.trials:
                raise
        finally:
            bench.close()
        return Grid(
            started=started,
            command=request.command,
            job=job,
            machine=server.machine,
            workload=workload,
            steps=steps,
            complete=complete,
            trials=tuple(bench.trials),
        )


def _measure(bench: LiveBench, space: Space, steps: int, say: Callable[[str], None]) -> None:
    configs = space.configs()
    too_large: list[TrainingConfig] = []
    for number, config in enumerate(random.Random(bench.seed).sample(configs, len(configs)), start=1):
        say(f"{number} of {len(configs)}: {config.label()}")
        # What a smaller batch of the same settings had no memory for need not be tried.
        if not any(_is_larger(config, failed) for failed in too_large):
            trial: Trial = bench.measure(Order(Stage.SETTINGS, config, range(steps), step_timeout_s=_STEP_TIMEOUT_S))
            if trial.outcome in (Outcome.OUT_OF_MEMORY, Outcome.THRASH):
                too_large.append(config)


def _is_larger(config: TrainingConfig, failed: TrainingConfig) -> bool:
    same = config.model_copy(update={"batch_size": failed.batch_size, "accumulation_steps": failed.accumulation_steps})
    return same == failed and config.batch_size > failed.batch_size
