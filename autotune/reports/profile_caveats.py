"""What weakens a profile: said before its figures, since labels and advice rest on ceilings and step times."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from autotune.profile_record import CeilingKind, Profile
from autotune.reports.si import milliseconds

__all__ = ["profile_caveats", "weakened"]

# Labels and advice are drawn from these; the launch latency and the host's bandwidth move few of them.
_DECISIVE = (CeilingKind.MATRIX, CeilingKind.CONVOLUTION, CeilingKind.VECTOR, CeilingKind.COPY)
# (largest - smallest) / median. A quiet device stays well below it, and a label changes where a ratio moves as far.
_WIDE_SPREAD = 0.4
# A profiler does not speed a step up, and rarely doubles it: beyond these something else kept the machine busy.
_INFLATION_LEAST, _INFLATION_MOST = 0.8, 3.0
_FEW_ROUNDS = 3
_WIDE_STEPS = 0.3
# Cores that other processes kept busy: below this it is the system's own housekeeping.
_BUSY_CORES = 0.25


def profile_caveats(profile: Profile) -> list[str]:
    """One sentence for each reason to trust the profile less; empty where there is none."""
    return [*_company(profile), *_ceilings(profile), *_steps(profile), *_inflation(profile)]


def weakened(profile: Profile) -> str | None:
    """The same as one line, for reports in which the profile is not the first thing."""
    found = profile_caveats(profile)
    return f"What weakens the profile: {' '.join(found)}" if found else None


def _company(profile: Profile) -> Iterator[str]:
    state = profile.state
    if (state.cpu_load_by_others or 0.0) >= _BUSY_CORES:
        yield f"Other processes kept {state.cpu_load_by_others:.1f} CPU cores busy while the steps were timed."
    if state.other_gpu_processes:
        yield f"{state.other_gpu_processes} other processes were on the GPU while the steps were timed."
    if state.throttled:
        yield f"The GPU was throttled while the steps were timed: {', '.join(state.throttled)}."


def _ceilings(profile: Profile) -> Iterator[str]:
    ceilings = profile.ceilings
    if ceilings is None or not ceilings.measured:
        return
    # All labels stand and fall with them: bound, ratios and advice of one profile are not another's.
    unsteady = "labels, ratios and advice may come out otherwise next time"
    if ceilings.disturbances:
        yield f"While the ceilings were measured, {'; '.join(ceilings.disturbances)}: {unsteady}."
    spreads = [each.spread for each in ceilings.ceilings if each.kind in _DECISIVE]
    if spreads and max(spreads) > _WIDE_SPREAD:
        yield f"The ceilings' samples differ by up to {max(spreads):.0%} of their median: {unsteady}."


def _steps(profile: Profile) -> Iterator[str]:
    samples_ms, count = profile.step_samples_ms, len(profile.profiled_step_ms)
    if not samples_ms:
        return
    if len(samples_ms) < _FEW_ROUNDS * count:
        timed = "one sample" if len(samples_ms) == 1 else f"{len(samples_ms)} samples"
        yield f"The step's time rests on {timed}: steps are slow here."
        return
    rounds = [samples_ms[step::count] for step in range(count)]
    widest = max(rounds, key=lambda each: (max(each) - min(each)) / median(each))
    if (max(widest) - min(widest)) / median(widest) > _WIDE_STEPS:
        yield (
            f"The step on the same images took between {milliseconds(min(widest))} and {milliseconds(max(widest))}: "
            "something else used the machine now and then."
        )


def _inflation(profile: Profile) -> Iterator[str]:
    if profile.inflation is not None and not _INFLATION_LEAST <= profile.inflation <= _INFLATION_MOST:
        yield (
            f"Profiled steps took {profile.inflation:.2f} times as long as unprofiled ones, so the two were measured "
            "under different conditions: shares may be right, their sum is not the step's time."
        )
