"""The sentences that every report of a profile has, as plain text: a report escapes and lays them out."""

from __future__ import annotations

from statistics import fmean

from autotune.profile_record import Advice, ClassTotal, Profile
from autotune.reports.si import milliseconds

__all__ = [
    "advice",
    "by_class",
    "classes",
    "headline",
    "host_bound",
    "notes",
    "occupancy",
    "share_of_step",
    "timing",
]

# The classes in which a piece of advice saves most.
_CLASSES_SHOWN = 2


def share_of_step(profile: Profile, time_ms: float) -> float:
    """The share of a step, which is what the device is busy and what it waits."""
    whole_ms = profile.busy_ms + profile.waiting_ms
    return time_ms / whole_ms if whole_ms else 0.0


def host_bound(profile: Profile) -> str | None:
    """Said before anything else: a layer's bound explains nothing while the device waits for most of the step."""
    if profile.host_share <= 0.5:
        return None
    return (
        f"The step is mostly host-bound: the device waits for Python during {profile.host_share:.0%} of it; "
        "no layer's bound matters until it does not."
    )


def headline(profile: Profile) -> str:
    """Which step, where, and how long it takes."""
    config = f" with {profile.config.label()}" if profile.config else ""
    return f"{profile.model}{config} on {profile.device}: {milliseconds(profile.step_ms)} a step."


def timing(profile: Profile) -> str:
    """The step with and without the profiler, and by how much it distorts."""
    profiled = milliseconds(fmean(profile.profiled_step_ms))
    count = len(profile.profiled_step_ms)
    if profile.inflation is None:
        return f"No unprofiled step was timed: all figures come from profiled ones, {profiled} each ({_steps(count)})."
    return (
        f"Unprofiled, a step takes {milliseconds(profile.step_ms)} ({len(profile.step_samples_ms)} timed); "
        f"profiled, {profiled} ({_steps(count)}, on the same images): per-layer figures come from the profiled steps, "
        f"which take {profile.inflation:.2f}x as long."
    )


def _steps(count: int) -> str:
    return "one step" if count == 1 else f"mean of {count}"


def occupancy(profile: Profile) -> str:
    """Busy and idle time, and how much of the busy time the layers explain."""
    whole_ms = profile.busy_ms + profile.idle_ms
    if not whole_ms:
        return "In the profiled steps the device did nothing."
    what = "an operator" if profile.by_operator else "a layer"
    busy, idle = milliseconds(profile.busy_ms, whole_ms), milliseconds(profile.idle_ms, whole_ms)
    belongs = f"{profile.coverage:.2%} of the busy time belongs to {what}" if profile.busy_ms else "no layer was found"
    return (
        f"In a profiled step the device was busy for {busy} ({profile.busy_ms / whole_ms:.1%}) "
        f"and idle for {idle} ({profile.idle_ms / whole_ms:.1%}); {belongs}."
    )


def classes(profile: Profile) -> list[ClassTotal]:
    """The classes, the largest first."""
    return sorted(profile.classes, key=lambda total: -total.time_ms)


def by_class(profile: Profile) -> str | None:
    """One line: `Where a step's time goes: memory 45.0%, compute 30.1%.`"""
    if not profile.classes:
        return None
    shares = (f"{total.bound} {share_of_step(profile, total.time_ms):.1%}" for total in classes(profile))
    step = f"a step of {profile.config.label()} spends its time" if profile.config else "a step's time goes"
    return f"Where {step}: {', '.join(shares)}."


def advice(profile: Profile) -> list[str]:
    """Each piece of advice behind its number, the most promising first."""
    return [_advice(each) for each in sorted(profile.advice, key=lambda each: -each.speedup_at_most)]


def _advice(advice: Advice) -> str:
    """`at most 1.18x from channels_last=true (memory 21.6 ms): if ...; 1.05x where each layer keeps ...`"""
    ranked = sorted(advice.saved_ms, key=lambda bound: -advice.saved_ms[bound])
    saved = ", ".join(f"{bound} {milliseconds(advice.saved_ms[bound], 10.0)}" for bound in ranked[:_CLASSES_SHOWN])
    kept = (
        f"; {advice.speedup_at_same_share:.2f}x where each layer keeps the share of its ceiling that it reaches today"
        if advice.speedup_at_same_share is not None
        else ""
    )
    return f"at most {advice.speedup_at_most:.2f}x from {advice.knob}={advice.value} ({saved}): {advice.sentence}{kept}"


def notes(profile: Profile) -> list[str]:
    """What those who measured have to say of it."""
    return [*profile.notes, *(profile.ceilings.notes if profile.ceilings else ())]
