"""The recording that stands in a run directory: whose it is, and its profile."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from autotune.config import TrainingConfig
from autotune.errors import RecordError, RunDirectoryError, TraceError
from autotune.probes.analysis import profile_of_trace
from autotune.profile_record import Profile
from autotune.records import Job, Machine, load_run
from autotune.tuner.profiling import TRACE

__all__ = ["forget_recording", "kept_profile"]


def kept_profile(directory: Path, job: Job, machine: Machine, configs: Iterable[TrainingConfig]) -> Profile | None:
    """The profile of the trace that an interrupted run left; None where there is none, or it is another job's.

    What the trace says of itself is checked, and what run.json says of it, where there is one: a killed run has none.
    """
    path, record = directory / TRACE, directory / "run.json"
    if not path.exists():
        return None
    try:
        profile = profile_of_trace(path)
        written = load_run(record) if record.exists() else None
    except (TraceError, RecordError):
        return None
    if (profile.model, profile.machine) != (job.model.name, machine):
        return None
    if profile.config is None or profile.config not in configs:
        return None
    if written is not None and (written.job != job or written.profile not in (None, profile)):
        return None
    return profile


def forget_recording(directory: Path, *, unless: Path | None = None) -> None:
    """Remove the trace of the run that stood here: where no other takes its place, it would pass for this one's.

    unless: the trace that is analysed anew, which may be this very one.
    Raises RunDirectoryError where it cannot be removed.
    """
    path = directory / TRACE
    try:
        if path.exists() and not (unless and path.samefile(unless)):
            path.unlink()
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be removed ({error.strerror}); remove it") from None
