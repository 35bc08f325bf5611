from __future__ import annotations

import pytest

from autotune.profile_record import UNATTRIBUTED, Bound, Phase
from autotune.reports.page.fixes import first_to_fix
from profiles import EVERY_PROFILE, detector_profile, layer, profile


def test_the_layer_that_could_save_most_comes_first():
    fixes = first_to_fix(detector_profile())
    assert fixes[0].layer.layer == "roi_heads"
    assert len(first_to_fix(detector_profile(), limit=3)) == 3
    assert all(fix.speedup_at_most > 1.001 for fix in fixes)
    assert [fix.saved_ms for fix in fixes] == sorted((fix.saved_ms for fix in fixes), reverse=True)


def test_what_a_layer_could_bring_is_amdahls_bound_on_the_whole_step():
    made = profile(
        [layer("slow", Phase.FORWARD, 50.0, compute_ms=10.0, memory_ms=5.0), layer("rest", Phase.FORWARD, 50.0)],
        step_samples_ms=(),
    )
    fix = first_to_fix(made)[0]
    assert (fix.layer.layer, fix.saved_ms, fix.least_ms) == ("slow", 40.0, 10.0)
    assert fix.speedup_at_most == pytest.approx(100.0 / 60.0)


def test_waiting_counts_as_what_a_layer_could_save():
    made = profile([layer("late", Phase.FORWARD, 10.0, idle_before_ms=30.0, memory_ms=10.0)], idle_ms=30.0)
    assert first_to_fix(made)[0].saved_ms == pytest.approx(30.0)


def test_nothing_is_promised_of_operators_without_a_cost_or_beyond_a_ceiling():
    made = profile(
        [
            layer("unknown", Phase.FORWARD, 10.0, Bound.UNMODELLED, modelled=0.0),
            layer("beyond", Phase.FORWARD, 10.0, memory_ms=12.0),
            layer(UNATTRIBUTED, Phase.FORWARD, 10.0, Bound.LATENCY),
        ]
    )
    assert first_to_fix(made) == []


def test_fewer_multiplications_than_are_counted_leave_the_bytes_alone_as_the_least():
    winograd = layer("conv", Phase.FORWARD, 50.0, compute_ms=60.0, memory_ms=10.0, fewer_multiplications=True)
    assert first_to_fix(profile([winograd]))[0].saved_ms == pytest.approx(40.0)


def test_a_larger_batch_is_advised_only_where_kernels_leave_the_device_unfilled():
    small, slow, unknown = (
        layer(name, Phase.BACKWARD, 30.0, Bound.LATENCY, compute_ms=10.0, waves=waves)
        for name, waves in (("small", 0.3), ("slow", 77.0), ("unknown", None))
    )
    remedies = {fix.layer.layer: fix.remedy for fix in first_to_fix(profile([small, slow, unknown]))}
    assert remedies["small"] == remedies["unknown"]
    assert "larger batch" in remedies["small"]
    assert "larger batch" not in remedies["slow"]
    assert "cudnn.benchmark" in remedies["slow"]


@pytest.mark.parametrize("made", EVERY_PROFILE.values(), ids=EVERY_PROFILE)
def test_no_layer_saves_more_than_it_takes(made):
    for fix in first_to_fix(made):
        assert 0.0 < fix.saved_ms <= fix.layer.time_ms + fix.layer.idle_before_ms + 1e-9
        assert fix.speedup_at_most >= 1.0
