"""A trace recorded on an H200, analysed anew: tests/data/h200."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from statistics import fmean

import pytest

from autotune.probes.analysis import profile_of_trace
from autotune.profile_record import Bound, CeilingKind, Phase, Profile
from autotune.records import load_run
from benchmarks.recorded_gpu import modelled_dram_percent

FOLDER = Path(__file__).parents[1] / "data" / "h200" / "frcnn_mobilenet-profile"
ON_THE_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}


@pytest.fixture(scope="module")
def profile() -> Profile:
    return profile_of_trace(FOLDER / "trace.json.gz")


@pytest.fixture(scope="module")
def recorded() -> Profile:
    found = load_run(FOLDER).profile
    assert found is not None
    return found


def test_the_analysis_says_what_it_said_on_the_machine(profile: Profile, recorded: Profile) -> None:
    assert profile.coverage == recorded.coverage == 1.0
    assert profile.busy_ms == pytest.approx(recorded.busy_ms, rel=1e-9)
    assert profile.idle_ms == pytest.approx(recorded.idle_ms, rel=1e-9)
    ours, theirs = ({(each.layer, each.phase): each for each in found.layers} for found in (profile, recorded))
    assert ours.keys() == theirs.keys()
    for key, layer in ours.items():
        assert layer.time_ms == pytest.approx(theirs[key].time_ms, rel=1e-9), key
        assert layer.bound is theirs[key].bound, key


def test_layers_sum_to_the_time_in_which_the_device_was_at_work(profile: Profile) -> None:
    """Counted here by other means: the union of all that ran on the device from the first marked step on."""
    events = json.loads(gzip.decompress((FOLDER / "trace.json.gz").read_bytes()))["traceEvents"]
    spans = sorted((each["ts"], each["ts"] + each["dur"]) for each in events if each.get("cat") in ON_THE_DEVICE)
    busy_us, end_us = 0.0, next(each["ts"] for each in events if each["name"] == "ProfilerStep#0")
    for begin_us, until_us in spans:
        busy_us += max(0.0, until_us - max(begin_us, end_us))
        end_us = max(end_us, until_us)
    assert sum(layer.time_ms for layer in profile.layers) == pytest.approx(profile.busy_ms, rel=1e-9)
    assert profile.busy_ms == pytest.approx(busy_us / 1000.0 / len(profile.profiled_step_ms), rel=0.01)


def test_what_bounds_the_layers_is_what_one_would_expect(profile: Profile) -> None:
    bounds = {(layer.layer, layer.phase): layer.bound for layer in profile.layers}
    # A product of 1,024 by 12,544 in plain fp32; activations; proposals, one image after the other, from Python.
    assert bounds["roi_heads.box_head.fc6", Phase.FORWARD] is Bound.COMPUTE
    assert bounds["backbone.body.2.block.0.2", Phase.FORWARD] is Bound.MEMORY
    assert bounds["rpn", Phase.FORWARD] is Bound.HOST
    assert {layer.phase for layer in profile.layers} == set(Phase)
    shares = [layer.compute_ratio for layer in profile.layers if layer.layer == "roi_heads.box_head.fc6"]
    assert shares == [pytest.approx(1.0, abs=0.1)] * 2


def test_an_h200_reaches_what_it_can_reach(profile: Profile) -> None:
    assert profile.ceilings is not None
    copy, plain, half = (
        profile.ceilings.get(kind, precision)
        for kind, precision in ((CeilingKind.COPY, None), (CeilingKind.MATRIX, "fp32"), (CeilingKind.MATRIX, "bf16"))
    )
    assert 3.5e12 < (copy or 0.0) < 4.8e12
    assert 4.0e13 < (plain or 0.0) < 6.7e13
    assert 5.5e14 < (half or 0.0) < 9.9e14


def test_the_modelled_memory_traffic_is_what_the_cards_own_counters_saw(recorded: Profile) -> None:
    """Averages over the same steps, unprofiled. The model counts each operand once; caches and kernels that read it
    twice move the truth to either side."""
    assert recorded.nvml is not None
    seen = [each.dram_bandwidth_percent for each in recorded.nvml.samples]
    known = [percent for percent in seen if percent is not None]
    assert len(known) >= 5
    assert modelled_dram_percent(recorded) == pytest.approx(fmean(known), rel=0.2)
