from __future__ import annotations

from autotune.nvml_record import NvmlMissing, NvmlSeries
from autotune.reports.page.nvml_lines import Band, bands, notes, panels, watched
from profiles import detector_profile, nvml_series, timeline
from records import BF16, ok, run_record


def test_a_line_holds_the_samples_that_were_asked_for_it():
    lines = {line.name: line for panel in panels(nvml_series()) for line in panel.lines}
    assert lines["temperature"].x == (0.0, 1.0, 2.0, 3.0)
    assert len(lines["power"].x) == 40
    assert lines["memory used"].y[0] == 32.0
    assert "PCIe sent" not in lines


def test_a_series_without_samples_has_no_panel():
    assert panels(NvmlSeries(device_uuid="GPU-0")) == []


def test_what_could_not_be_read_is_told():
    missing = NvmlSeries(device_uuid="GPU-0", missing=(NvmlMissing(field="power_watts", reason="Not Supported"),))
    assert notes(missing.model_copy(update={"lost": "GPU is lost"})) == [
        "power_watts: not read (Not Supported).",
        "The GPU was lost: GPU is lost.",
    ]
    assert notes(nvml_series())[:2] == ["Clock events: power cap.", "Energy over these samples: 1560.0 J."]


def test_the_profile_and_each_trial_that_was_sampled_can_be_watched():
    trials = [
        ok(BF16, 100.0),
        ok(BF16, 100.0, timeline=timeline()),
        ok(BF16, 100.0, timeline=timeline(1)),  # no line
    ]
    profile, trial = watched(run_record(trials, profile=detector_profile(nvml=nvml_series())))
    assert profile.name == "the profile's unprofiled steps"
    assert trial.name == f"trial 2: {BF16.label()} (settings)"
    lines = {line.name: line for panel in trial.panels for line in panel.lines}
    assert lines["power"].x[:3] == (0.0, 0.2, 0.4)
    assert lines["power"].y == tuple(600.0 + place for place in range(12))
    assert "temperature" not in lines
    assert trial.bands == [Band("software power cap", ((0.4, 2.2),))]
    assert trial.notes == ["Clock events: idle, software power cap."]


def test_a_band_lasts_while_its_reason_is_seen():
    events = [("power brake",), ("power brake", "idle"), None, ("idle",), ("power brake",), ("idle",)]
    assert bands([5.0, 6.0, 7.0, 8.0, 9.0, 10.0], events) == [Band("power brake", ((0.0, 3.0), (4.0, 5.0)))]
