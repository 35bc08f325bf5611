"""Whole runs with a tiny detector: from a request to a record."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.config import Precision, TrainingConfig
from autotune.errors import AutotuneError, DeviceError, RecordError, UsageError
from autotune.probes.machine import native_bf16
from autotune.records import DataSpec, ModelSpec, Outcome, RunRecord, Stage, Status, VerdictKind
from autotune.tuner.bench import Progress
from autotune.tuner.request import Request
from autotune.tuner.run import run

pytestmark = pytest.mark.usefixtures("short_run")


def _request(data: DataSpec, factory: str, **options: object) -> Request:
    return Request(
        model=ModelSpec(name=f"tiny:{factory}"),
        data=data,
        device="cpu",
        effective_batch=4,
        threads=1,
        **{"budget_s": 120.0, **options},  # type: ignore[arg-type]
    )


def test_a_run_measures_the_baseline_the_settings_the_batch_sizes_and_a_race(tiny_data: DataSpec) -> None:
    seen: list[Progress] = []
    record = run(_request(tiny_data, "sleeper"), watch=seen.append)
    assert record.status is Status.FINISHED
    # Which configs tie, and so run heats, is a matter of times; and so is whether bf16, where this CPU has it, races.
    assert {trial.stage for trial in record.trials} - {Stage.HEATS, Stage.NUMERICS} == {
        Stage.BASELINE,
        Stage.SETTINGS,
        Stage.BATCH_SIZES,
        Stage.RACE,
    }, "memory is probed only where it may run short"
    compared = {trial.config.precision for trial in record.trials if trial.stage is Stage.NUMERICS}
    assert compared <= {Precision.FP32, Precision.BF16}, "losses are compared only where a precision is reduced"
    assert Precision.BF16 not in compared or native_bf16()
    assert record.trials[0].stage is Stage.BASELINE
    assert all(trial.config.images_per_step == 4 for trial in record.trials)
    assert record.recommendation is not None
    # A step sleeps a small part of the time in channels_last. How sure five blocks are of it, a busy machine decides.
    result = record.recommendation.verdict
    assert result.candidate.channels_last
    assert record.recommendation.config == (result.candidate if result.kind is VerdictKind.FASTER else record.baseline)
    assert result.log_ratios
    assert record.workload is not None
    assert record.workload.images == 60
    assert record.machine is not None
    assert record.machine.device_type == "cpu"
    assert any("cudnn_benchmark" in reason for reason in record.left_out)
    assert [progress.trials for progress in seen if progress.order is None] == list(range(1, len(record.trials) + 1))
    assert RunRecord.model_validate_json(record.to_json()) == record


def test_a_config_that_crashes_is_reported_and_never_recommended(tiny_data: DataSpec) -> None:
    record = run(_request(tiny_data, "crashes_in_channels_last"))
    assert record.status is Status.FINISHED
    crashed = [trial for trial in record.trials if trial.config.channels_last]
    assert crashed
    assert {trial.outcome for trial in crashed} == {Outcome.CRASHED}
    assert {trial.detail for trial in crashed} == {"killed by SIGKILL"}
    assert record.recommendation is not None
    assert not record.recommendation.config.channels_last


def test_a_config_raced_against_itself_shows_no_real_difference(tiny_data: DataSpec) -> None:
    record = run(_request(tiny_data, "plain", settings_fixed=True, tuned_batch=16))
    assert record.workload is not None
    assert any("multiply it by 0.5: AdamW's" in note for note in record.workload.notes)
    assert record.recommendation is not None
    result = record.recommendation.verdict
    assert result.kind is VerdictKind.NO_REAL_DIFFERENCE
    assert record.recommendation.config == result.candidate == record.baseline
    assert result.ratio is not None
    assert result.low is not None
    assert result.high is not None
    assert result.low <= result.ratio <= result.high
    assert len(result.log_ratios) >= 3


def test_a_killed_run_is_resumed_from_its_journal(tiny_data: DataSpec, tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    whole = run(_request(tiny_data, "sleeper"), journal_path=path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == len(whole.trials) + 1
    path.write_bytes(b"".join(lines[:4]) + lines[4][:-7])
    resumed = run(_request(tiny_data, "sleeper"), journal_path=path, resume=True)
    assert resumed.trials[:3] == whole.trials[:3], "what stood in the journal was not measured again"
    assert resumed.status is Status.FINISHED
    assert resumed.recommendation is not None
    assert len(path.read_bytes().splitlines()) == len(resumed.trials) + 1


def test_an_interrupted_run_keeps_what_it_measured(tiny_data: DataSpec) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.trials == 2 and progress.order is not None:
            raise KeyboardInterrupt

    record = run(_request(tiny_data, "sleeper"), watch=interrupt)
    assert record.status is Status.INTERRUPTED
    assert len(record.trials) == 2
    assert record.recommendation is None


def test_a_users_baseline_decides_the_effective_batch(tiny_data: DataSpec) -> None:
    own = TrainingConfig(batch_size=3, accumulation_steps=2, precision="fp32", channels_last=True)
    request = Request(
        model=ModelSpec(name="tiny:sleeper"), data=tiny_data, device="cpu", budget_s=120.0, baseline=own, threads=1
    )
    record = run(request)
    assert record.baseline == own
    assert record.job.effective_batch == 6
    with pytest.raises(UsageError, match="is 6, not the effective batch 4"):
        run(Request(model=request.model, data=tiny_data, device="cpu", baseline=own, effective_batch=4))


@pytest.mark.parametrize(
    ("factory", "error", "words"),
    [
        ("broken", UsageError, "no such backbone"),
        ("not_a_module", UsageError, "not_a_module"),
        ("absent", UsageError, "absent"),
    ],
)
def test_a_model_that_does_not_do_is_one_sentence(
    tiny_data: DataSpec, factory: str, error: type[AutotuneError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(_request(tiny_data, factory))


def test_a_baseline_that_does_not_train_leaves_its_reason_in_the_record(tiny_data: DataSpec) -> None:
    record = run(_request(tiny_data, "always_raises"))
    assert record.status is Status.FAILED
    assert record.error is not None
    assert "does not train: crashed, ValueError" in record.error
    assert [trial.outcome for trial in record.trials] == [Outcome.CRASHED]
    assert record.recommendation is None


def test_a_gpu_that_is_not_there_is_one_sentence(tiny_data: DataSpec) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    with pytest.raises(DeviceError, match="autotune doctor"):
        run(Request(model=ModelSpec(name="tiny:plain"), data=tiny_data, device="cuda"))


def test_settings_that_are_restricted_are_tried_with_no_other_value(tiny_data: DataSpec, tmp_path: Path) -> None:
    request = _request(tiny_data, "sleeper", only=("channels_last=false", "precision=fp32"))
    record = run(request, journal_path=tmp_path / "trials.jsonl")
    assert record.status is Status.FINISHED
    assert {(each.config.precision, each.config.channels_last) for each in record.trials} == {("fp32", False)}
    assert len({each.config.batch_size for each in record.trials}) > 1
    assert "channels_last: nothing but false is tried beside the baseline, as you asked" in record.left_out
    with pytest.raises(RecordError, match="only"):
        run(_request(tiny_data, "sleeper"), journal_path=tmp_path / "trials.jsonl", resume=True)


def test_knobs_that_are_asked_for_are_tried_and_stand_in_the_record(tiny_data: DataSpec) -> None:
    record = run(_request(tiny_data, "sleeper", knobs=("optimizer", "matmul_precision")))
    assert record.status is Status.FINISHED
    assert record.knobs == ("optimizer", "matmul_precision")
    tried = [trial for trial in record.trials if trial.stage is Stage.KNOBS]
    assert {trial.config.optimizer_implementation for trial in tried} >= {"fused", "foreach"}
    assert {trial.outcome for trial in tried} == {Outcome.OK}
    assert all(trial.config.channels_last for trial in tried), "the other settings are far behind"
    assert RunRecord.model_validate_json(record.to_json()) == record
