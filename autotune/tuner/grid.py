"""Records a grid: every config, round by round, each time in a process of its own."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime

from autotune.config import TrainingConfig
from autotune.grid_record import Grid
from autotune.records import Outcome, Stage, Trial
from autotune.tuner.bench import LiveBench, circumstances
from autotune.tuner.order import Order
from autotune.tuner.passes import whole_passes
from autotune.tuner.request import Request, job_of
from autotune.tuner.session import Server
from autotune.tuner.space import Space

__all__ = ["record_grid"]

_STEP_TIMEOUT_S = 600.0


def record_grid(
    request: Request, steps: int, rounds: int = 1, *, say: Callable[[str], None] = lambda sentence: None
) -> Grid:
    """Measure every config with so many timed steps, a part of them in each round, in a new random order each, so that
    what disturbs the machine for a while harms no config alone. All rounds time the same images: how processes differ
    can be told from how images do. They take whole passes over these where a pass is short, for which there may be more
    steps than were asked for: a part of one would favour the configs that its images suit.

    Ctrl-C ends it early: the grid then holds what was measured.
    Raises AutotuneError where nothing can be measured: a name, path, device or data set that does not do.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with Server(request.device) as server:
        job = job_of(request, server.machine.device_type)
        where = circumstances(job, server.machine)
        workload = server.prepare(job)
        bench = LiveBench(job, server.machine, None, math.inf, lambda progress: None)
        bench.use(server, workload)
        space, complete = Space(where, request.baseline, knobs=request.knobs, only=request.only), False
        try:
            in_each = whole_passes(math.ceil(steps / rounds), bench.batches_in_turn)
            _measure(bench, space, rounds, range(in_each), say)
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
            knobs=request.knobs,
            only=request.only,
            steps=steps,
            complete=complete,
            trials=tuple(bench.trials),
        )


def _measure(bench: LiveBench, space: Space, rounds: int, steps: range, say: Callable[[str], None]) -> None:
    waiting, dice = space.configs(), random.Random(bench.seed)
    for number in range(rounds):
        failed: list[TrainingConfig] = []
        too_large: list[TrainingConfig] = []
        for place, config in enumerate(dice.sample(waiting, len(waiting)), start=1):
            say(f"round {number + 1} of {rounds}, {place} of {len(waiting)}: {config.label()}")
            # What a smaller batch of the same settings had no memory for need not be tried.
            if any(_is_larger(config, other) for other in too_large):
                failed.append(config)
                continue
            order = Order(Stage.SETTINGS, config, steps, block=number, step_timeout_s=_STEP_TIMEOUT_S)
            trial: Trial = bench.measure(order)
            if trial.outcome is not Outcome.OK:
                failed.append(config)
            if trial.outcome in (Outcome.OUT_OF_MEMORY, Outcome.THRASH):
                too_large.append(config)
        # What has failed once is not started again.
        waiting = [config for config in waiting if config not in failed]


def _is_larger(config: TrainingConfig, failed: TrainingConfig) -> bool:
    same = config.model_copy(update={"batch_size": failed.batch_size, "accumulation_steps": failed.accumulation_steps})
    return same == failed and config.batch_size > failed.batch_size
