"""One run, from a request to a run record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from autotune.config import TrainingConfig
from autotune.errors import AutotuneError, UsageError
from autotune.records import DataSpec, Job, ModelSpec, Outcome, RunRecord, Stage, Status, Trial
from autotune.tuner.bench import LiveBench, Progress, circumstances
from autotune.tuner.journal import Journal
from autotune.tuner.search import FirstSearch, Search
from autotune.tuner.session import Server
from autotune.tuner.space import Space

__all__ = ["Request", "run"]

# Trains as torchvision's reference does on a GPU; a CPU gets what it can step through in seconds.
_EFFECTIVE_BATCH = {"cuda": 16, "cpu": 4}
_BUDGET_S = {"cuda": 300.0, "cpu": 180.0}


@dataclass(frozen=True)
class Request:
    """What a user asks of a run; None leaves a choice to the device's default.

    device: `cpu`, `cuda`, `cuda:N`, or None for CUDA where there is one. baseline: the user's own training config.
    """

    model: ModelSpec
    data: DataSpec = DataSpec()
    device: str | None = None
    effective_batch: int | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    budget_s: float | None = None
    baseline: TrainingConfig | None = None
    seed: int = 0
    memory_limit_bytes: int | None = None
    threads: int | None = None
    settings_fixed: bool = False
    command: tuple[str, ...] = field(default=())


def run(
    request: Request,
    *,
    journal_path: Path | None = None,
    resume: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    search: Search | None = None,
) -> RunRecord:
    """Measure and decide. The record is returned also where the run failed midway or was interrupted by Ctrl-C:
    its status says so, and it holds the trials that were measured.

    Raises AutotuneError where nothing was measured at all: a name, path, device or data set that does not do.
    """
    search = search or FirstSearch()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with Server(request.device) as server:
        machine = server.machine
        job = _job(request, machine.device_type)
        budget_s = request.budget_s or _BUDGET_S[machine.device_type]
        where = circumstances(job, machine)
        space = Space(where, request.baseline, settings_fixed=request.settings_fixed)
        plan = {"name": search.name, "budget_s": budget_s, "baseline": space.baseline.model_dump(mode="json")}
        journal = Journal(journal_path, job, machine, plan, resume=resume) if journal_path else None
        bench = LiveBench(job, machine, journal, budget_s, watch)
        record = RunRecord(
            status=Status.FINISHED,
            command=request.command,
            started=started,
            job=job,
            machine=machine,
            budget_s=budget_s,
            spent_s=0.0,
            search=search.name,
            left_out=space.left_out(),
        )
        try:
            workload = server.prepare(job)
            bench.use(server)
            record = record.model_copy(update={"workload": workload})
            findings = search.run(bench, space)
            record = record.model_copy(
                update={
                    "baseline": findings.baseline,
                    "recommendation": findings.recommendation,
                    "not_tried": findings.not_tried,
                }
            )
        except KeyboardInterrupt:
            record = record.model_copy(update={"status": Status.INTERRUPTED, "error": "interrupted by Ctrl-C"})
        except AutotuneError as error:
            if not bench.trials:
                raise
            record = record.model_copy(update={"status": Status.FAILED, "error": str(error)})
        finally:
            bench.close()
            if journal is not None:
                journal.close()
        return record.model_copy(
            update={
                "baseline": record.baseline or _measured_baseline(bench.trials),
                "trials": tuple(bench.trials),
                "spent_s": bench.spent_s,
            }
        )


def _measured_baseline(trials: Sequence[Trial]) -> TrainingConfig | None:
    """The baseline of a run that did not come to its end."""
    measured = (t.config for t in trials if t.stage is Stage.BASELINE and t.outcome is Outcome.OK)
    return next(measured, None)


def _job(request: Request, device_type: str) -> Job:
    effective_batch = request.effective_batch or _EFFECTIVE_BATCH[device_type]
    baseline = request.baseline
    if baseline is not None and baseline.images_per_step != effective_batch:
        if request.effective_batch is not None:
            raise UsageError(
                f"the baseline's batch_size {baseline.batch_size} x accumulation_steps {baseline.accumulation_steps} "
                f"is {baseline.images_per_step}, not the effective batch {effective_batch}; make them agree"
            )
        effective_batch = baseline.images_per_step
    return Job(
        model=request.model,
        data=request.data,
        device=request.device or device_type,
        effective_batch=effective_batch,
        optimizer=request.optimizer,
        seed=request.seed,
        memory_limit_bytes=request.memory_limit_bytes,
        threads=request.threads,
    )
