"""The profile of a job under one training config, measured in a child process as a trial is."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from autotune.config import TrainingConfig
from autotune.errors import DeviceError, TraceError, UsageError
from autotune.probes.analysis import profile_of_trace
from autotune.probes.device_state import StateProbe
from autotune.probes.nvml import ALL
from autotune.profile_record import Profile
from autotune.records import Job, Machine, Outcome
from autotune.tuner.session import Server, Session, TrialFailed

__all__ = ["TRACE", "profile_job"]

TRACE = "trace.json.gz"

# The time of unprofiled steps settles late; as for a trial, three steps come before those that count.
_WARMUP_STEPS = 3
# Steps that are timed: rounds over those that are recorded, what fits into this time, within these bounds.
_STEPS_S = 4.0
_TIMED_AT_MOST, _RECORDED_AT_MOST = 21, 3
# Of fewer rounds the median is no better than its worst sample.
_ROUNDS_AT_LEAST = 3
_CEILINGS_TIMEOUT_S = 120.0
_STEP_TIMEOUT_S = 600.0
# A recorded step takes longer than a plain one, and its trace has yet to be written.
_RECORDING_FACTOR, _WRITING_S = 10.0, 120.0


def profile_job(
    server: Server,
    job: Job,
    machine: Machine,
    configs: Iterable[TrainingConfig],
    directory: Path | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Profile:
    """The profile under the first of configs that fits into memory; the job is prepared on the server.

    directory: where the trace is kept, as trace.json.gz; None for nowhere. say: told what is being done.
    Raises UsageError for a compiled config, DeviceError where no config fits or a step does not end well, TraceError
    where the disk takes no recording.
    """
    detail = ""
    for config in configs:
        if config.compile:
            raise UsageError(
                f"{config.label()}: what torch.compile fuses belongs to no one layer, and the profile's hooks would "
                "have it compiled anew; profile the config without compile"
            )
        try:
            session = server.start(config)
            try:
                return _profile(session, job, machine, config, directory, say)
            finally:
                session.close()
        except TrialFailed as failure:
            if failure.outcome not in (Outcome.OUT_OF_MEMORY, Outcome.THRASH):
                raise DeviceError(
                    f"{job.model.name}: its training step cannot be profiled ({config.label()}): {failure}"
                ) from None
            detail = failure.detail
        except OSError as error:
            place = directory or tempfile.gettempdir()
            raise TraceError(
                f"{place}: the recording cannot be written there ({error.strerror}); make room, then try again"
            ) from None
    raise DeviceError(f"{job.model.name}: no batch fits into memory ({detail}); try a smaller --image-size")


def _profile(
    session: Session,
    job: Job,
    machine: Machine,
    config: TrainingConfig,
    directory: Path | None,
    say: Callable[[str], None],
) -> Profile:
    say("measuring what this machine reaches")
    ceilings = session.ceilings(machine, _CEILINGS_TIMEOUT_S)
    say(f"timing the training step with {config.label()}")
    warmup_ms = [session.step(0, _STEP_TIMEOUT_S).ms for _ in range(_WARMUP_STEPS)]
    affordable = min(_TIMED_AT_MOST, max(_ROUNDS_AT_LEAST, round(_STEPS_S / (warmup_ms[-1] / 1000.0))))
    recorded = range(min(_RECORDED_AT_MOST, affordable // _ROUNDS_AT_LEAST))
    if machine.device_type == "cuda":
        # The first step on an image size plans its kernels.
        for number in recorded[1:]:
            session.step(number, _STEP_TIMEOUT_S)
    # The same images with and without the profiler: a step's time follows from its images.
    numbers = [*recorded] * (affordable // len(recorded))
    probe = StateProbe(machine, queries=ALL)
    cpu_before_s = session.cpu_s()
    try:
        samples_ms = [session.step(number, _STEP_TIMEOUT_S).ms for number in numbers]
        state = probe.read(session.cpu_s() - cpu_before_s)
    finally:
        probe.close()
    say("recording it under the profiler")
    facts: dict[str, Any] = {
        "model": job.model.name,
        "config": config.model_dump(mode="json"),
        "machine": machine.model_dump(mode="json"),
        "ceilings": json.loads(ceilings.to_json()),
        "step_samples_ms": samples_ms,
        "state": json.loads(state.to_json()),
        "nvml": json.loads(probe.nvml.to_json()) if probe.nvml else None,
    }
    with tempfile.TemporaryDirectory(prefix=".autotune-", dir=directory) as folder:
        path = Path(folder) / TRACE
        timeout_s = _WRITING_S + _RECORDING_FACTOR * sum(samples_ms) / 1000.0
        session.record(path, recorded, facts, timeout_s)
        say("working out whose the time is")
        profile = profile_of_trace(path)
        if directory is not None:
            path.replace(directory / TRACE)
    return profile
