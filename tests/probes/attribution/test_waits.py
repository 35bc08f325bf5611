"""The profiler slows the host down: what it added to the waits is taken out, of labels and totals alike."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from autotune.probes.analysis import profile_of_trace
from autotune.probes.recording import METADATA
from autotune.profile_record import Bound, Layer, Profile
from exported import annotation, kernel, launch, operator, save

H100 = {"id": 0, "name": "NVIDIA H100 80GB HBM3", "numSms": 132, "computeMajor": 9, "computeMinor": 0}
# In ms: what the device does in the profiled step, and what it waits: its own gap of 0.010 and 0.040 for a launch.
BUSY, OWN, HOST = 0.080, 0.010, 0.040


def _work(name: str, at: float, correlation: int, runs_at: float, lasts: float) -> list[dict[str, Any]]:
    return [
        annotation(f"layer:{name}", at, 5),
        operator("aten::mul", at + 1, 3),
        launch(at + 2, correlation),
        kernel(runs_at, lasts, correlation),
    ]


def _profile(tmp_path: Path, *step_samples_ms: float) -> Profile:
    """Two kernels launched in time, the second after a gap of the device's own; a third launched late."""
    events = [
        annotation("ProfilerStep#0", 0, 300),
        *_work("first", 5, 1, 20, 30),
        *_work("gap", 12, 2, 60, 20),
        *_work("late", 110, 3, 120, 30),
    ]
    facts = {METADATA: {"step_samples_ms": step_samples_ms}}
    return profile_of_trace(save(tmp_path / "trace.json", *events, deviceProperties=[H100], **facts))


def _row(profile: Profile, layer: str) -> Layer:
    return next(row for row in profile.layers if row.layer == layer)


def _totals(profile: Profile) -> dict[Bound, float]:
    return {total.bound: total.time_ms for total in profile.classes}


def _assert_it_adds_up(profile: Profile) -> None:
    rows = profile.layers
    assert sum(row.time_ms for row in rows) == pytest.approx(profile.busy_ms, abs=1e-12)
    assert sum(row.idle_before_ms for row in rows) == pytest.approx(profile.waiting_ms, abs=1e-12)
    assert sum(row.host_wait_ms for row in rows) == pytest.approx(profile.host_ms, abs=1e-12)
    totals = _totals(profile)
    assert sum(totals.values()) == pytest.approx(profile.busy_ms + profile.waiting_ms, abs=1e-12)
    assert totals.get(Bound.HOST, 0.0) == pytest.approx(profile.host_ms, abs=1e-12)
    counts = {total.bound: total.layers for total in profile.classes}
    late = [row for row in rows if row.host_wait_ms > row.time_ms]
    assert {id(row) for row in late} == {id(row) for row in rows if row.bound is Bound.HOST}
    assert counts.get(Bound.HOST, 0) == len(late)
    assert all(0.0 <= row.host_wait_ms <= row.idle_before_ms for row in rows)


@pytest.mark.parametrize(
    ("step_ms", "own_ms", "host_ms"),
    [
        (BUSY + OWN + HOST, OWN, HOST),  # the profiler added nothing
        (BUSY + OWN + HOST / 4, OWN, HOST / 4),  # three quarters of the wait for the launch are the profiler's
        (BUSY + OWN, OWN, 0.0),
        (BUSY + OWN / 2, OWN / 2, 0.0),  # an unprofiled step has less room than even the device's own gap
        (BUSY, 0.0, 0.0),
        (BUSY / 2, 0.0, 0.0),
        (1.0, OWN, HOST),  # slower than the profiled one: more than was seen cannot be given to a layer
    ],
)
def test_the_profilers_share_is_taken_out_of_the_waits_for_launches_first(
    tmp_path: Path, step_ms: float, own_ms: float, host_ms: float
) -> None:
    profile = _profile(tmp_path, step_ms)
    gap, late = _row(profile, "gap"), _row(profile, "late")
    assert (gap.idle_before_ms, gap.host_wait_ms) == (pytest.approx(own_ms), 0.0)
    assert late.idle_before_ms == late.host_wait_ms == pytest.approx(host_ms, abs=1e-12)
    assert profile.waiting_ms == pytest.approx(own_ms + host_ms)
    _assert_it_adds_up(profile)


def test_a_layer_is_host_bound_by_the_waits_of_an_unprofiled_step(tmp_path: Path) -> None:
    """The kernel after the wait of 0.040 ms takes 0.030 ms: host-bound under the profiler, and not without it."""
    assert _row(_profile(tmp_path), "late").bound is Bound.HOST
    assert _row(_profile(tmp_path, BUSY + OWN + HOST), "late").bound is Bound.HOST
    late = _row(_profile(tmp_path, BUSY + OWN + 0.020), "late")
    assert late.bound is late.work_bound is not Bound.HOST


def test_without_unprofiled_steps_the_waits_stand_as_recorded(tmp_path: Path) -> None:
    profile = _profile(tmp_path)
    assert profile.waiting_ms == profile.idle_ms == pytest.approx(OWN + HOST)
    assert profile.host_ms == pytest.approx(HOST)
    _assert_it_adds_up(profile)


def _steps(draw: random.Random, steps: int) -> list[dict[str, Any]]:
    """Steps one after another, each of several kernels; some launched in time and some late, on two streams."""
    events, clock, free = [], 10.0, 0.0
    for step in range(steps):
        opened = clock
        for number in range(draw.randint(2, 6)):
            correlation = 100 * step + number + 1
            events += _work(draw.choice("abcd"), clock, correlation, 0, 0)[:3]
            begins = max(clock + 4, free + draw.choice([0, 0, 1.5, 7]))
            lasts = draw.choice([2, 11, 30])
            events.append(kernel(begins, lasts, correlation, stream=draw.choice([7, 7, 8])))
            free = max(free, begins + lasts)
            clock += draw.choice([6, 6, 25])
        events.append(annotation(f"ProfilerStep#{step}", opened, clock - opened))
        clock += 1
    return events


@pytest.mark.parametrize("seed", range(40))
def test_whatever_ran_the_rows_and_the_classes_add_up_to_the_step(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    count = draw.randint(1, 3)
    events = _steps(draw, count)
    recorded = profile_of_trace(save(tmp_path / "trace.json", *events, deviceProperties=[H100]))
    assert len(recorded.profiled_step_ms) == count
    whole_ms = recorded.busy_ms + recorded.idle_ms
    for share in (0.0, 0.3, 0.7, 1.0, 1.5):
        samples = [(recorded.busy_ms + share * (whole_ms - recorded.busy_ms)) for _ in range(2 * count)]
        facts = {METADATA: {"step_samples_ms": samples}}
        profile = profile_of_trace(save(tmp_path / "trace.json", *events, deviceProperties=[H100], **facts))
        assert profile.waiting_ms == pytest.approx(min(share, 1.0) * recorded.idle_ms, abs=1e-12)
        _assert_it_adds_up(profile)


@pytest.mark.parametrize("samples", [(), (0.5, 0.5)])
def test_on_a_processor_the_classes_have_what_comes_after_the_last_operator_as_the_hosts(
    tmp_path: Path, samples: tuple[float, ...]
) -> None:
    events = [
        annotation("ProfilerStep#0", 0, 100),
        annotation("layer:first", 5, 50),
        operator("aten::mul", 10, 20),
        operator("aten::add", 40, 10),
        annotation("ProfilerStep#1", 100, 100),
        operator("aten::mul", 110, 30),
    ]
    path = save(tmp_path / "trace.json", *events, **{METADATA: {"step_samples_ms": samples}})
    profile = profile_of_trace(path)
    assert (profile.device_type, profile.busy_ms, profile.waiting_ms) == ("cpu", 0.030, pytest.approx(0.070))
    # The 60 us after the last operator of the two steps stand in no row.
    assert profile.waiting_ms - sum(row.idle_before_ms for row in profile.layers) == pytest.approx(0.030)
    assert profile.host_ms == profile.waiting_ms == pytest.approx(_totals(profile)[Bound.HOST])
    assert sum(_totals(profile).values()) == pytest.approx(profile.busy_ms + profile.waiting_ms, abs=1e-12)
