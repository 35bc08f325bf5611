from __future__ import annotations

import resource
from pathlib import Path

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.errors import RecordError, RunDirectoryError
from autotune.records import Job, ModelSpec, Outcome, Stage, Trial
from autotune.tuner.journal import Journal
from records import H200 as MACHINE

JOB = Job(model=ModelSpec(name="frcnn_mobilenet"), device="cpu", effective_batch=4)
PLAN = {"budget_s": 40.0}
CONFIG = TrainingConfig(batch_size=4)


def _trial(number: int, outcome: Outcome = Outcome.OK, stage: Stage = Stage.SETTINGS) -> Trial:
    return Trial(
        number=number,
        stage=stage,
        block=number,
        config=CONFIG,
        outcome=outcome,
        step_ms=(1.5, 2.5),
        steps=(0, 1),
        duration_s=0.25,
    )


def test_a_resumed_journal_knows_its_trials_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.append(_trial(1))
    journal.close()
    journal = Journal(path, JOB, MACHINE, PLAN, resume=True)
    assert journal.find((Stage.SETTINGS, CONFIG, 1)) == _trial(1)
    assert journal.find((Stage.SETTINGS, CONFIG, 2)) is None
    journal.append(_trial(2))
    journal.close()
    assert len(path.read_text().splitlines()) == 3


def test_a_resumed_journal_keeps_the_time_at_which_it_was_begun(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.close()
    before = "2026-11-22T20:00:00+00:00"
    path.write_text(path.read_text().replace(journal.started, before))
    for _ in range(2):
        journal = Journal(path, JOB, MACHINE, PLAN, resume=True)
        journal.close()
        assert journal.started == before


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.append(_trial(1))
    journal.append(_trial(2))
    journal.close()
    path.write_bytes(path.read_bytes()[:-cut])
    journal = Journal(path, JOB, MACHINE, PLAN, resume=True)
    assert journal.find((Stage.SETTINGS, CONFIG, 1)) is not None
    assert journal.find((Stage.SETTINGS, CONFIG, 2)) is None
    journal.append(_trial(2))
    journal.close()
    journal = Journal(path, JOB, MACHINE, PLAN, resume=True)
    assert journal.find((Stage.SETTINGS, CONFIG, 2)) == _trial(2)
    journal.close()


def test_a_second_run_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.append(_trial(1))
    for resume in (True, False):
        with pytest.raises(RunDirectoryError, match="another run is writing there"):
            Journal(path, JOB, MACHINE, PLAN, resume=resume)
    assert len(path.read_text().splitlines()) == 2, "the refused run left the file alone"
    journal.close()


def test_another_jobs_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    Journal(path, JOB, MACHINE, PLAN, resume=False).close()
    with pytest.raises(RecordError, match="effective_batch is 8 now and was 4"):
        Journal(path, JOB.model_copy(update={"effective_batch": 8}), MACHINE, PLAN, resume=True)


def test_another_jobs_journal_is_refused_with_the_fields_that_differ_alone(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    job = JOB.model_copy(update={"model": ModelSpec(name="frcnn_mobilenet", image_size=96), "seed": 1})
    Journal(path, job, MACHINE, {**PLAN, "knobs": ["compile", "optimizer"]}, resume=False).close()
    with pytest.raises(RecordError) as caught:
        Journal(path, JOB, MACHINE, PLAN, resume=True)
    assert str(caught.value).partition(": belongs to another run ")[2] == (
        "(model.image_size is unset now and was 96; seed is 0 now and was 1; knobs is unset now and was compile, "
        "optimizer); resume with the same command, machine and software, or begin anew with --force"
    )


def test_another_machines_or_torchs_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    Journal(path, JOB, MACHINE, PLAN, resume=False).close()
    with pytest.raises(RecordError, match=r"torch is 9\.9 now"):
        Journal(path, JOB, MACHINE.model_copy(update={"torch": "9.9"}), PLAN, resume=True)


def test_a_resume_with_a_larger_budget_goes_on_and_waits_longer_for_what_did_not_end(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.append(_trial(1))
    journal.append(_trial(2, Outcome.TIMEOUT))
    journal.close()
    for budget_s, timeout_stands in ((40.0, True), (90.0, False), (90.0, True)):
        journal = Journal(path, JOB, MACHINE, {"budget_s": budget_s}, resume=True)
        found = [journal.find((Stage.SETTINGS, CONFIG, number)) for number in (1, 2)]
        if not timeout_stands:
            journal.append(_trial(2, Outcome.TIMEOUT))
        journal.close()
        assert found[0] is not None
        assert (found[1] is not None) == timeout_stands, "what did not end in the larger one is known"
    with pytest.raises(RecordError, match=r"budget_s is 60\.0 now and was 90\.0"):
        Journal(path, JOB, MACHINE, {"budget_s": 60.0}, resume=True)


def test_a_block_that_began_anew_with_another_side_in_a_larger_budget_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    other = CONFIG.at_batch_size(1, 4)
    third = CONFIG.model_copy(update={"precision": Precision.BF16})

    def side(config: TrainingConfig, place: int) -> Trial:
        return _trial(place, stage=Stage.RACE).model_copy(update={"config": config})

    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.append(side(CONFIG, 0))
    journal.append(side(other, 1))
    journal.close()
    journal = Journal(path, JOB, MACHINE, {"budget_s": 90.0}, resume=True)
    journal.append(side(third, 1))
    journal.append(side(CONFIG, 0))
    journal.close()
    journal = Journal(path, JOB, MACHINE, {"budget_s": 90.0}, resume=True)
    keys = [(Stage.RACE, CONFIG, 0), (Stage.RACE, third, 1)]
    assert all(journal.find(key, beside=keys) for key in keys)
    assert journal.find((Stage.RACE, other, 1)) is None
    journal.close()


def test_a_resume_with_a_smaller_budget_is_refused_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.append(_trial(1))
    journal.close()
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"budget_s is 6\.0 now and was 40\.0"):
        Journal(path, JOB, MACHINE, {"budget_s": 6.0}, resume=True)
    assert path.read_bytes() == before


def test_what_failed_for_good_is_known_and_what_may_be_mended_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    for number, stage in enumerate(Stage):
        journal.append(_trial(number, Outcome.OUT_OF_MEMORY, stage))
    journal.close()
    journal = Journal(path, JOB, MACHINE, PLAN, resume=True)
    known = {stage for number, stage in enumerate(Stage) if journal.find((stage, CONFIG, number))}
    journal.close()
    assert known == {Stage.MEMORY, Stage.SETTINGS, Stage.BATCH_SIZES, Stage.KNOBS, Stage.NUMERICS}


def test_a_side_is_known_only_with_the_others_of_its_block(tmp_path: Path) -> None:
    """A kill may cut a block in two, and a resumed race may be one of other sides."""
    path = tmp_path / "trials.jsonl"
    other, third = TrainingConfig(batch_size=2), TrainingConfig(batch_size=1)
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.append(_trial(0, stage=Stage.RACE))
    journal.append(_trial(1, stage=Stage.RACE).model_copy(update={"config": other}))
    journal.append(_trial(8, stage=Stage.RACE))
    journal.close()
    journal = Journal(path, JOB, MACHINE, PLAN, resume=True)

    def finds(block: int, rival: TrainingConfig) -> bool:
        ours, theirs = (Stage.RACE, CONFIG, block), (Stage.RACE, rival, block + 1)
        return journal.find(ours, beside=(ours, theirs)) is not None

    assert finds(0, other)
    assert not finds(0, third)
    assert not finds(8, other)
    journal.close()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.append(_trial(1))
    journal.close()
    path.write_text(path.read_text() + '{"number": "x"}\n')
    with pytest.raises(RecordError, match="line 3 is not a trial"):
        Journal(path, JOB, MACHINE, PLAN, resume=True)


def test_a_disk_that_takes_no_more_is_one_sentence_and_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.append(_trial(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        with pytest.raises(RunDirectoryError, match=r"cannot be written .* --resume"):
            journal.append(_trial(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.close()
    journal = Journal(path, JOB, MACHINE, PLAN, resume=True)
    assert journal.find((Stage.SETTINGS, CONFIG, 1)) == _trial(1)
    assert journal.find((Stage.SETTINGS, CONFIG, 2)) is None
    journal.close()


def test_a_block_that_was_begun_anew_is_not_completed_by_what_was_measured_before(tmp_path: Path) -> None:
    """Killed once after both sides, a failed one among them, and again after one of them: hours lie between."""
    path = tmp_path / "trials.jsonl"
    other = TrainingConfig(batch_size=2)
    journal = Journal(path, JOB, MACHINE, PLAN, resume=False)
    journal.append(_trial(0, stage=Stage.RACE))
    journal.append(_trial(1, Outcome.TIMEOUT, Stage.RACE).model_copy(update={"config": other}))
    journal.append(_trial(1, stage=Stage.RACE).model_copy(update={"config": other}))
    journal.close()
    journal = Journal(path, JOB, MACHINE, PLAN, resume=True)
    keys = ((Stage.RACE, CONFIG, 0), (Stage.RACE, other, 1))
    assert journal.find(keys[0], beside=keys) is None
    assert journal.find(keys[1], beside=keys) is None
    journal.close()
