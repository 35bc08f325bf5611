from __future__ import annotations

import pytest

from autotune.profile_record import Bound, Phase
from autotune.reports.page.modules import by_class, by_module, by_phase
from profiles import EVERY_PROFILE, detector_profile, layer, profile

STEP = pytest.mark.parametrize("made", EVERY_PROFILE.values(), ids=EVERY_PROFILE)


@STEP
def test_the_tree_holds_the_whole_step(made):
    tree = by_module(made)
    assert sum(tree.own_ms) == pytest.approx(made.busy_ms + made.waiting_ms, rel=1e-4)
    assert len(tree.labels) == len(tree.parents) == len(tree.own_ms) == len(tree.bounds)
    # Parents come before their children, and only leaves have time of their own.
    assert all(parent < place for place, parent in enumerate(tree.parents))
    assert not any(tree.own_ms[parent] for parent in tree.parents if parent >= 0)


@STEP
def test_phases_and_idle_time_sum_to_the_step(made):
    bars = by_phase(made)
    assert sum(bars.ms) == pytest.approx(made.busy_ms + made.waiting_ms, rel=1e-4)
    if bars.ms:
        assert sum(bars.shares) == pytest.approx(1.0, rel=1e-3)


def test_classes_are_the_records_own():
    made = detector_profile()
    assert dict(zip(*(lambda bars: (bars.names, bars.ms))(by_class(made)), strict=True)) == pytest.approx(
        {str(total.bound): total.time_ms for total in made.classes}, rel=1e-4
    )


def test_communication_is_apart_from_the_phase_that_it_lies_in():
    made = profile(
        [
            layer("(communication)", Phase.BACKWARD, 3.0, Bound.COMMUNICATION),
            layer("conv", Phase.BACKWARD, 5.0),
        ]
    )
    bars = by_phase(made)
    assert dict(zip(bars.names, bars.ms, strict=True)) == {"backward": 5.0, "communication": 3.0}


def test_a_module_takes_the_bound_of_most_of_its_time():
    made = profile(
        [layer("a.x", Phase.FORWARD, 3.0, Bound.COMPUTE), layer("a.y", Phase.FORWARD, 5.0, Bound.MEMORY)],
    )
    tree = by_module(made)
    assert dict(zip(tree.labels, tree.bounds, strict=True))["a"] == "memory"


@pytest.mark.parametrize(("host_wait_ms", "bound"), [(15.0, "host"), (5.0, "latency")])
def test_waiting_has_the_bound_of_most_of_it(host_wait_ms, bound):
    late = layer("a", Phase.FORWARD, 80.0, idle_before_ms=20.0, host_wait_ms=host_wait_ms)
    tree = by_module(profile([late], idle_ms=20.0, step_samples_ms=()))
    assert dict(zip(tree.labels, tree.bounds, strict=True))["(waiting)"] == bound


def test_modules_too_small_to_see_are_one_leaf_of_their_parent():
    small = [layer(f"a.part{place}", Phase.FORWARD, 0.01) for place in range(50)]
    tree = by_module(profile([layer("a.large", Phase.FORWARD, 99.5), *small]))
    assert sorted(tree.labels) == ["(smaller)", "a", "forward", "large", "step"]
    assert tree.own_ms[tree.labels.index("(smaller)")] == pytest.approx(0.5)
