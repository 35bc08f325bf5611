"""Profiles of whole training steps, recorded in a child process as a run does it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from autotune.config import TrainingConfig
from autotune.errors import DeviceError, TraceError, UsageError
from autotune.probes.analysis import profile_of_trace
from autotune.profile_record import Ceilings, Phase, Profile
from autotune.records import DataSpec, ModelSpec, RunRecord, Status
from autotune.tuner.profiling import TRACE
from autotune.tuner.request import Request
from autotune.tuner.run import profile_run, run, trace_run

pytestmark = pytest.mark.usefixtures("short_run")


def _request(data: DataSpec, factory: str = "plain", **options: object) -> Request:
    values = {"device": "cpu", "effective_batch": 4, "threads": None, "budget_s": 120.0, **options}
    return Request(model=ModelSpec(name=f"tiny:{factory}"), data=data, **values)  # type: ignore[arg-type]


def _profile(record: RunRecord) -> Profile:
    assert record.profile is not None
    return record.profile


def test_a_profile_names_every_layer_and_leaves_nothing_over(
    tiny_data: DataSpec, kept_ceilings: Ceilings, tmp_path: Path
) -> None:
    record = profile_run(_request(tiny_data), directory=tmp_path)
    profile = _profile(record)
    assert record.status is Status.FINISHED
    assert not record.is_search
    assert profile.coverage >= 0.99
    assert {(layer.layer, layer.phase) for layer in profile.layers} >= {
        ("(inputs)", Phase.FORWARD),
        ("(model)", Phase.FORWARD),
        ("conv", Phase.FORWARD),
        ("conv", Phase.BACKWARD),
        ("(loss)", Phase.BACKWARD),
        ("(optimizer)", Phase.OPTIMIZER),
    }
    assert profile.ceilings == kept_ceilings
    assert profile.machine == record.machine
    assert profile.config == record.baseline
    assert len(profile.step_samples_ms) >= len(profile.profiled_step_ms) >= 1
    assert len(profile.step_samples_ms) % len(profile.profiled_step_ms) == 0
    assert profile.state.cpu_load_by_others is not None
    assert sum(layer.time_ms for layer in profile.layers) == pytest.approx(profile.busy_ms, rel=1e-12)
    assert RunRecord.model_validate_json(record.to_json()) == record


def test_the_trace_that_is_kept_tells_the_same_elsewhere(
    tiny_data: DataSpec, kept_ceilings: Ceilings, tmp_path: Path
) -> None:
    profile = _profile(profile_run(_request(tiny_data), directory=tmp_path))
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == [TRACE]
    assert profile_of_trace(tmp_path / TRACE) == profile
    assert trace_run(tmp_path / TRACE, ()).profile == profile


def test_accumulation_makes_one_step_of_several_micro_batches(tiny_data: DataSpec, kept_ceilings: Ceilings) -> None:
    def flops(batch_size: int) -> float:
        config = TrainingConfig(batch_size=batch_size, accumulation_steps=4 // batch_size)
        profile = _profile(profile_run(_request(tiny_data, baseline=config)))
        assert profile.config is not None
        assert profile.config.batch_size == batch_size
        return sum(layer.flops for layer in profile.layers if layer.layer == "conv")

    assert flops(4) == flops(1) > 0


def test_a_step_that_fails_is_one_sentence_and_leaves_no_file(
    tiny_data: DataSpec, kept_ceilings: Ceilings, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match=r"tiny:always_raises: its training step cannot be profiled .*ValueError"):
        profile_run(_request(tiny_data, "always_raises"), directory=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_a_batch_that_does_not_fit_is_profiled_in_smaller_ones(tiny_data: DataSpec, kept_ceilings: Ceilings) -> None:
    request = _request(tiny_data, "greedy", memory_limit_bytes=1_000_000_000, threads=1)
    profile = _profile(profile_run(request))
    assert profile.config is not None
    assert (profile.config.batch_size, profile.config.accumulation_steps) == (2, 2)


def test_a_run_profiles_its_baseline_first_and_takes_up_the_recording_when_resumed(
    tiny_data: DataSpec, kept_ceilings: Ceilings, tmp_path: Path
) -> None:
    request = _request(tiny_data, "sleeper", profile=True)
    said: list[str] = []
    record = run(request, journal_path=tmp_path / "trials.jsonl", say=said.append)
    assert _profile(record).config == record.baseline
    assert any("profiler" in sentence for sentence in said)
    assert (tmp_path / TRACE).exists()
    said.clear()
    again = run(request, journal_path=tmp_path / "trials.jsonl", resume=True, say=said.append)
    assert again.profile == record.profile
    assert said == []


def test_a_recording_that_has_no_place_is_one_sentence(
    tiny_data: DataSpec, kept_ceilings: Ceilings, tmp_path: Path
) -> None:
    with pytest.raises(TraceError, match=r"gone: the recording cannot be written there \(No such file or directory\)"):
        profile_run(_request(tiny_data), directory=tmp_path / "gone")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TraceError("trace.json.gz: cut short"), "trace.json.gz: cut short"),
        (OSError(errno.ENOSPC, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (KeyError("a defect\nof ours"), r"KeyError: 'a defect\nof ours'"),
    ],
    ids=["our word", "full disk", "defect"],
)
def test_a_run_whose_profile_fails_goes_on_and_says_why(
    tiny_data: DataSpec, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: object) -> Profile:
        raise error

    monkeypatch.setattr("autotune.tuner.run.profile_job", fail)
    record = run(_request(tiny_data, "sleeper", profile=True))
    assert record.status is Status.FINISHED
    assert record.recommendation is not None
    assert record.profile is None
    assert f"profile: {reason}" in record.left_out


def test_a_config_that_does_not_make_the_effective_batch_is_refused(tiny_data: DataSpec) -> None:
    config = TrainingConfig(batch_size=3, accumulation_steps=1)
    with pytest.raises(UsageError, match="effective batch 4"):
        profile_run(_request(tiny_data, baseline=config))


def test_a_compiled_step_is_not_profiled(tiny_data: DataSpec) -> None:
    compiled = TrainingConfig(batch_size=4, compile=True)
    with pytest.raises(UsageError, match="profile the config without compile"):
        profile_run(_request(tiny_data, baseline=compiled))
