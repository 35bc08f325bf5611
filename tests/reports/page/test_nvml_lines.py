from __future__ import annotations

from autotune.nvml_record import NvmlMissing, NvmlSeries
from autotune.reports.page.nvml_lines import notes, panels
from profiles import nvml_series


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
