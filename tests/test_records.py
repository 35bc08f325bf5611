from __future__ import annotations

import json

import pydantic
import pytest

from autotune.errors import RecordError
from autotune.records import SCHEMA_VERSION, DeviceState, RunRecord, Stage, load_run
from profiles import EVERY_PROFILE
from records import BASELINE, BF16, EVERY_KIND, faster, ok, profiled, run_record


@pytest.fixture(params=EVERY_KIND)
def record(request):
    return EVERY_KIND[request.param]


@pytest.fixture
def saved(tmp_path):
    """Writes a changed copy of a good record's content and returns its path."""

    def write(change) -> str:
        content = json.loads(faster().to_json())
        change(content)
        path = tmp_path / "run.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return str(path)

    return write


def test_a_record_comes_back_as_it_was_from_a_file_or_its_directory(record, tmp_path):
    (tmp_path / "run.json").write_text(record.to_json(), encoding="utf-8")
    assert load_run(tmp_path) == record
    assert load_run(str(tmp_path / "run.json")) == record


def test_derived_figures_are_printed_and_not_stored():
    stored = json.loads(faster().to_json())
    printed = json.loads(faster().to_json(computed=True))
    assert "images_per_second" not in stored["trials"][0]
    assert printed["trials"][0]["images_per_second"][0] == pytest.approx(16 / 0.4)
    for trial in printed["trials"]:
        del trial["images_per_second"]
    assert printed == stored


@pytest.mark.parametrize("profile", EVERY_PROFILE.values(), ids=EVERY_PROFILE)
def test_a_profile_comes_back_as_it_was(profile, tmp_path):
    record = faster().model_copy(update={"profile": profile})
    (tmp_path / "run.json").write_text(record.to_json(), encoding="utf-8")
    assert load_run(tmp_path).profile == profile
    json.loads(record.to_json(computed=True))


def test_the_profiles_derived_figures_are_printed_and_not_stored():
    stored = json.loads(profiled().to_json())["profile"]
    printed = json.loads(profiled().to_json(computed=True))["profile"]
    assert not {"step_ms", "inflation", "host_share", "host_ms"} & set(stored)
    assert "value" not in stored["ceilings"]["ceilings"][0]
    assert not {"compute_ratio", "above_ceiling", "intensity"} & set(stored["layers"][1])
    assert printed["step_ms"] == 100.0
    assert printed["inflation"] == pytest.approx(337.0 / 300.0)
    assert printed["layers"][1]["memory_ratio"] == pytest.approx(1.2)
    assert printed["layers"][1]["above_ceiling"] is True


def test_a_wrong_field_of_a_profile_is_named(tmp_path):
    content = json.loads(profiled().to_json())
    content["profile"]["layers"][2]["bound"] = "luck"
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RecordError, match=r"profile\.layers\.2\.bound: "):
        load_run(path)


def test_the_median_throughput_is_over_whole_steps():
    trials = faster().trials
    assert trials[0].median_images_per_second == pytest.approx(16 / 0.4)
    assert trials[3].median_images_per_second is None


def test_records_are_frozen_and_closed():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        faster().status = "failed"
    with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
        RunRecord(**faster().model_dump(exclude={"trials": {"__all__": {"images_per_second"}}}), typo=1)


def test_an_absent_record_says_what_to_give(tmp_path):
    with pytest.raises(RecordError, match=r"absent: no run record can be read there .* give a run directory"):
        load_run(tmp_path / "absent")
    with pytest.raises(RecordError, match=r"run\.json: no run record"):
        load_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"schema_version": 1, "status": "fini', b"\xff\xfe", b"not json"])
def test_a_truncated_record_is_not_a_run_record(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"run\.json: not a run record: "):
        load_run(path)


@pytest.mark.parametrize("content", ["[]", "{}", "3", "null", '{"schema_version": "one"}'])
def test_json_of_another_kind_is_not_a_run_record(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecordError, match="it has no schema_version"):
        load_run(path)


def test_a_newer_schema_asks_for_an_update(saved):
    newer = SCHEMA_VERSION + 1
    with pytest.raises(RecordError, match=rf"schema_version {newer} is newer than .* \({SCHEMA_VERSION}\); update"):
        load_run(saved(lambda content: content.update(schema_version=newer)))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda content: content.update(budget_s="soon"), "budget_s"),
        (lambda content: content["trials"][1].update(outcome="fine"), r"trials\.1\.outcome"),
        (lambda content: content["trials"][0]["config"].update(batch_size=0), r"trials\.0\.config\.batch_size"),
        (lambda content: content["machine"].update(colour="red"), r"machine\.colour"),
        (
            lambda content: content["trials"][0].update(timeline={"at_s": [0.0, 1.0], "power_watts": [300.0]}),
            r"trials\.0\.timeline",
        ),
        (lambda content: content.pop("job"), "job"),
        (lambda content: content.update(trials="none"), "trials"),
    ],
)
def test_a_wrong_field_is_named(saved, change, field):
    with pytest.raises(RecordError, match=rf"run\.json: {field}: "):
        load_run(saved(change))


def test_of_a_disturbed_trial_and_its_repeat_the_less_disturbed_stands() -> None:
    company = DeviceState(other_gpu_processes=1)
    both = DeviceState(other_gpu_processes=1, throttled=("power brake",))
    trials = [
        ok(BASELINE, 100.0, state=both),
        ok(BASELINE, 90.0, repeated=True, state=company),
        ok(BF16, 50.0, state=company),
        ok(BF16, 60.0, repeated=True, state=company),
        ok(BF16, 55.0, Stage.RACE, state=company),
    ]
    record = run_record(trials)
    assert [trial.number for trial in record.standing] == [2, 3, 5]
    assert len(record.trials) == 5
    assert RunRecord.model_validate_json(record.to_json()).standing == record.standing
