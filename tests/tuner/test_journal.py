from __future__ import annotations

import resource
from pathlib import Path

import pytest

from autotune.config import TrainingConfig
from autotune.errors import RecordError, RunDirectoryError
from autotune.records import Job, ModelSpec, Outcome, Stage, Trial
from autotune.tuner.journal import Journal

JOB = Job(model=ModelSpec(name="frcnn_mobilenet"), device="cpu", effective_batch=4)
CONFIG = TrainingConfig(batch_size=4)


def _trial(number: int) -> Trial:
    return Trial(
        number=number,
        stage=Stage.RACE,
        block=number,
        config=CONFIG,
        outcome=Outcome.OK,
        step_ms=(1.5, 2.5),
        steps=(0, 1),
        duration_s=0.25,
    )


def test_a_resumed_journal_knows_its_trials_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, resume=False)
    journal.append(_trial(1))
    journal.close()
    journal = Journal(path, JOB, resume=True)
    assert journal.find((Stage.RACE, CONFIG, 1)) == _trial(1)
    assert journal.find((Stage.RACE, CONFIG, 2)) is None
    journal.append(_trial(2))
    journal.close()
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, resume=False)
    journal.append(_trial(1))
    journal.append(_trial(2))
    journal.close()
    path.write_bytes(path.read_bytes()[:-cut])
    journal = Journal(path, JOB, resume=True)
    assert journal.find((Stage.RACE, CONFIG, 1)) is not None
    assert journal.find((Stage.RACE, CONFIG, 2)) is None
    journal.append(_trial(2))
    journal.close()
    journal = Journal(path, JOB, resume=True)
    assert journal.find((Stage.RACE, CONFIG, 2)) == _trial(2)
    journal.close()


def test_a_second_run_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, resume=False)
    journal.append(_trial(1))
    for resume in (True, False):
        with pytest.raises(RunDirectoryError, match="another run is writing there"):
            Journal(path, JOB, resume=resume)
    assert len(path.read_text().splitlines()) == 2, "the refused run left the file alone"
    journal.close()


def test_another_jobs_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    Journal(path, JOB, resume=False).close()
    with pytest.raises(RecordError, match="belongs to another job"):
        Journal(path, JOB.model_copy(update={"effective_batch": 8}), resume=True)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, resume=False)
    journal.append(_trial(1))
    journal.close()
    path.write_text(path.read_text() + '{"number": "x"}\n')
    with pytest.raises(RecordError, match="line 3 is not a trial"):
        Journal(path, JOB, resume=True)


def test_a_disk_that_takes_no_more_is_one_sentence_and_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, resume=False)
    journal.append(_trial(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with pytest.raises(RunDirectoryError, match=r"cannot be written .* --resume"):
            journal.append(_trial(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.close()
    journal = Journal(path, JOB, resume=True)
    assert journal.find((Stage.RACE, CONFIG, 1)) == _trial(1)
    assert journal.find((Stage.RACE, CONFIG, 2)) is None
    journal.close()
