"""What weakens a profile is said before its figures, in every report."""

from __future__ import annotations

import pytest

from autotune.machine_record import DeviceState
from autotune.profile_record import Ceiling, CeilingKind, Ceilings, Profile
from autotune.reports import markdown, profile_markdown, profile_terminal, terminal
from autotune.reports.profile_caveats import profile_caveats, weakened
from profiles import DATASHEET, detector_profile, from_a_trace
from records import profiled


def _ceilings(*samples: float, kind: CeilingKind = CeilingKind.COPY, **fields: object) -> Ceilings:
    return Ceilings(ceilings=(Ceiling(kind=kind, samples=samples),), **fields)


def test_a_quiet_profile_has_none() -> None:
    assert profile_caveats(detector_profile()) == []
    assert weakened(detector_profile()) is None
    assert profile_caveats(from_a_trace()) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ceilings": _ceilings(1e9, 1.5e9, 2e9)}, "differ by up to 67% of their median"),
        ({"ceilings": _ceilings(1e9, 1e9, disturbances=("others kept 1.2 of 2 cores busy",))}, "others kept 1.2 of 2"),
        ({"state": DeviceState(cpu_load_by_others=1.26)}, "kept 1.3 CPU cores busy"),
        ({"state": DeviceState(other_gpu_processes=2)}, "2 other processes were on the GPU"),
        ({"state": DeviceState(throttled=("thermal slowdown",))}, "throttled while the steps were timed: thermal"),
        ({"step_samples_ms": (100.0, 99.0, 101.0)}, "rests on 3 samples"),
        ({"step_samples_ms": (112.0,), "profiled_step_ms": (112.0,)}, "rests on one sample"),
        (
            {"step_samples_ms": (100.0, 90.0, 150.0), "profiled_step_ms": (120.0,)},
            "took between 90.00 ms and 150.0 ms",
        ),
        ({"step_samples_ms": 6 * (240.0,), "profiled_step_ms": (112.0, 112.0)}, "0.47 times as long"),
    ],
)
def test_each_reason_has_one_sentence(fields: dict[str, object], said: str) -> None:
    found = profile_caveats(detector_profile(**fields))
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"ceilings": _ceilings(1e9, 1.2e9, 1.3e9)},
        # Of the launch latency no label is drawn, and a datasheet has no samples.
        {"ceilings": _ceilings(1e-6, 2e-6, 4e-6, kind=CeilingKind.LAUNCH)},
        {"ceilings": DATASHEET},
        {"state": DeviceState(cpu_load_by_others=0.2, other_gpu_processes=0)},
        # Images of several sizes, each the same in every round.
        {"step_samples_ms": 3 * (50.0, 100.0, 300.0), "profiled_step_ms": (60.0, 110.0, 310.0)},
    ],
)
def test_what_is_usual_is_no_reason(fields: dict[str, object]) -> None:
    assert profile_caveats(detector_profile(**fields)) == []


def _weak() -> Profile:
    return detector_profile(ceilings=_ceilings(1e9, 2e9, 3e9))


def test_it_stands_above_the_figures() -> None:
    shown = " ".join(profile_terminal.render(_weak()).split())
    assert 0 < shown.index("What weakens this") < shown.index("Unprofiled, a step takes")
    section = profile_markdown.section(_weak())
    assert section.index("What weakens the profile") < section.index("| bound |")


def test_a_run_says_it_of_its_profile() -> None:
    run = profiled().model_copy(update={"profile": _weak()})
    assert "What weakens the profile: The ceilings' samples" in terminal.render(run)
    assert "What weakens the profile" in markdown.render(run)
    assert "What weakens the profile" not in terminal.render(profiled())
