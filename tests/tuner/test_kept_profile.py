"""A recording that stands in a run directory is taken up by the run that it belongs to, and by no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.config import TrainingConfig
from autotune.errors import UsageError
from autotune.profile_record import Ceilings, Profile
from autotune.records import DataSpec, ModelSpec, RunRecord
from autotune.tuner.kept_profile import kept_profile
from autotune.tuner.profiling import TRACE
from autotune.tuner.request import Request
from autotune.tuner.run import profile_run, run


def _request(data: DataSpec, factory: str = "plain") -> Request:
    return Request(model=ModelSpec(name=f"tiny:{factory}"), data=data, device="cpu", effective_batch=4, budget_s=60.0)


def _kept(record: RunRecord, directory: Path, **other: object) -> Profile | None:
    """What a run of record's job takes up; other: what differs."""
    assert record.job is not None
    assert record.machine is not None
    assert record.baseline is not None
    whose = {"job": record.job, "machine": record.machine, "configs": (record.baseline,), **other}
    return kept_profile(directory, **whose)  # type: ignore[arg-type]


def test_a_recording_is_taken_up_only_by_the_run_that_it_belongs_to(
    tiny_data: DataSpec, kept_ceilings: Ceilings, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    record = profile_run(_request(tiny_data), directory=here)
    assert record.profile is not None
    assert record.job is not None
    assert record.machine is not None

    def written(**changed: object) -> None:
        (here / "run.json").write_text(record.model_copy(update=changed).to_json())

    # A killed run has written no run.json yet; an interrupted one one without the profile.
    assert _kept(record, here) == record.profile
    written(profile=None)
    assert _kept(record, here) == record.profile
    written()
    assert _kept(record, here) == record.profile

    other_job = record.job.model_copy(update={"model": ModelSpec(name="tiny:sleeper")})
    assert _kept(record, here, job=other_job) is None
    assert _kept(record, here, machine=record.machine.model_copy(update={"torch": "9.9"})) is None
    assert _kept(record, here, configs=(TrainingConfig(batch_size=1, accumulation_steps=4),)) is None
    # Another seed draws other images: only run.json tells.
    written(job=record.job.model_copy(update={"seed": 7}))
    assert _kept(record, here) is None
    # The profile of another recording of the same job.
    written(profile=record.profile.model_copy(update={"step_samples_ms": (1.0,)}))
    assert _kept(record, here) is None
    (here / "run.json").write_text("{")
    assert _kept(record, here) is None
    (here / "run.json").unlink()
    (here / TRACE).write_bytes(b"cut short")
    assert _kept(record, here) is None


@pytest.mark.parametrize("resume", [False, True], ids=["forced", "resumed"])
def test_a_run_that_is_not_resumed_leaves_no_older_recording_to_be_taken_for_its_own(
    tiny_data: DataSpec, tmp_path: Path, resume: bool
) -> None:
    (tmp_path / TRACE).write_bytes(b"of the run that stood here")
    # Ends before it comes to a recording of its own, as a killed run may.
    with pytest.raises(UsageError):
        run(_request(tiny_data, "broken"), journal_path=tmp_path / "trials.jsonl", resume=resume)
    assert (tmp_path / TRACE).exists() == resume
