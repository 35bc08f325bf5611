"""One run, from a request to a run record."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from autotune.config import TrainingConfig
from autotune.errors import AutotuneError
from autotune.learning_rate import learning_rate_note
from autotune.probes.analysis import profile_of_trace
from autotune.probes.energy import energy_source
from autotune.records import Job, Outcome, RunRecord, Stage, Status, Trial
from autotune.tuner.bench import LiveBench, Progress, circumstances
from autotune.tuner.cell_search import CellSearch
from autotune.tuner.journal import Journal
from autotune.tuner.kept_profile import forget_recording, kept_profile
from autotune.tuner.objective import Objective
from autotune.tuner.profiling import profile_job
from autotune.tuner.request import Request, job_of
from autotune.tuner.search import Search
from autotune.tuner.session import Server
from autotune.tuner.space import Space

__all__ = ["profile_run", "run", "trace_run"]

_BUDGET_S = {"cuda": 300.0, "cpu": 180.0}


def run(
    request: Request,
    *,
    journal_path: Path | None = None,
    resume: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda sentence: None,
    search: Search | None = None,
) -> RunRecord:
    """Measure and decide. The record is returned also where the run failed midway or was interrupted by Ctrl-C:
    its status says so, and it holds the trials that were measured.

    Raises AutotuneError where nothing was measured at all: a name, path, device or data set that does not do.
    """
    search = search or CellSearch(request.objective)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with Server(request.device) as server:
        machine = server.machine
        if request.objective is Objective.ENERGY:
            energy_source(machine)
        job = job_of(request, machine.device_type)
        budget_s = request.budget_s or _BUDGET_S[machine.device_type]
        where = circumstances(job, machine)
        space = Space(
            where, request.baseline, settings_fixed=request.settings_fixed, knobs=request.knobs, only=request.only
        )
        plan = {
            "name": search.name,
            "objective": request.objective,
            "settings_fixed": request.settings_fixed,
            "budget_s": budget_s,
            "baseline": space.baseline.model_dump(mode="json"),
            **({"knobs": list(request.knobs)} if request.knobs else {}),
            **({"only": list(request.only)} if request.only else {}),
        }
        journal = Journal(journal_path, job, machine, plan, resume=resume) if journal_path else None
        bench = LiveBench(job, machine, journal, budget_s, watch)
        record = RunRecord(
            status=Status.FINISHED,
            command=request.command,
            started=journal.started if journal else started,
            job=job,
            machine=machine,
            budget_s=budget_s,
            spent_s=0.0,
            search=search.name,
            objective=request.objective.value,
            knobs=request.knobs,
            only=request.only,
            left_out=space.left_out(),
        )
        directory = journal_path.parent if journal_path else None
        try:
            if directory and not resume:
                forget_recording(directory)
            workload = server.prepare(job)
            bench.use(server, workload)
            note = learning_rate_note(job.optimizer, request.tuned_batch or job.effective_batch, job.effective_batch)
            workload = workload.model_copy(update={"notes": (*workload.notes, *filter(None, [note]))})
            record = record.model_copy(update={"workload": workload})
            if request.profile:
                record = _profiled(record, server, job, space, directory, resume=resume, say=say)
                space.take(record.profile, sizes_vary=(workload.input_sizes or 1) > 1)
            findings = search.run(bench, space)
            record = record.model_copy(
                update={
                    "baseline": findings.baseline,
                    "recommendation": findings.recommendation,
                    "not_tried": findings.not_tried,
                    "left_out": (*record.left_out, *findings.notes),
                }
            )
        except KeyboardInterrupt:
            how = "interrupted by Ctrl-C or SIGTERM"
            record = record.model_copy(update={"status": Status.INTERRUPTED, "error": how})
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


def _profiled(
    record: RunRecord,
    server: Server,
    job: Job,
    space: Space,
    directory: Path | None,
    *,
    resume: bool,
    say: Callable[[str], None],
) -> RunRecord:
    """The record with the baseline's profile, or with a line that says why it has none: a search does without."""
    assert record.machine is not None
    try:
        profile = None
        if resume and directory:
            profile = kept_profile(directory, job, record.machine, space.baselines())
            if profile is None:
                forget_recording(directory)
        profile = profile or profile_job(server, job, record.machine, space.baselines(), directory, say)
    except Exception as error:  # noqa: BLE001, whatever ends the profile must not end the search
        return record.model_copy(update={"left_out": (*record.left_out, f"profile: {_why(error)}")})
    return record.model_copy(update={"profile": profile})


def _why(error: Exception) -> str:
    if isinstance(error, AutotuneError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def profile_run(
    request: Request, *, directory: Path | None = None, say: Callable[[str], None] = lambda sentence: None
) -> RunRecord:
    """Profile the baseline of a request, and search nothing. directory: where the trace is kept.

    Raises AutotuneError where it cannot be profiled: a name, path, device or data set that does not do.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    began_s = time.monotonic()
    with Server(request.device) as server:
        job = job_of(request, server.machine.device_type)
        space = Space(circumstances(job, server.machine), request.baseline)
        say("building the model")
        workload = server.prepare(job)
        profile = profile_job(server, job, server.machine, space.baselines(), directory, say)
        return RunRecord(
            status=Status.FINISHED,
            command=request.command,
            started=started,
            job=job,
            machine=server.machine,
            workload=workload,
            budget_s=0.0,
            spent_s=time.monotonic() - began_s,
            search="",
            baseline=profile.config,
            profile=profile,
        )


def trace_run(path: Path, command: tuple[str, ...]) -> RunRecord:
    """A record around the profile of a trace that was recorded elsewhere. Raises TraceError where it is none."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    began_s = time.monotonic()
    profile = profile_of_trace(path)
    return RunRecord(
        status=Status.FINISHED,
        command=command,
        started=started,
        job=None,
        machine=profile.machine,
        budget_s=0.0,
        spent_s=time.monotonic() - began_s,
        search="",
        baseline=profile.config,
        profile=profile,
    )


def _measured_baseline(trials: Sequence[Trial]) -> TrainingConfig | None:
    """The baseline of a run that did not come to its end."""
    measured = (t.config for t in trials if t.stage is Stage.BASELINE and t.outcome is Outcome.OK)
    return next(measured, None)
