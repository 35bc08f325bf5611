"""What a report says of the knobs beyond the settings: what compiling cost, and which are worth asking for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from autotune.config import EXTRA_KNOBS, TrainingConfig
from autotune.profile_record import Advice, Bound, Profile
from autotune.records import Compilation, RunRecord, Trial

__all__ = ["compiled", "suggestion"]

# From this share of a step on in which the device waits, or its kernels are too small, a knob that launches less helps.
_WAITS_AT_LEAST = 0.25
# Less than this at best is not worth another run.
_WORTH_ASKING = 1.05


def compiled(record: RunRecord) -> list[str]:
    """One line for each compiled config: what compiling took, and after how many steps that is paid back."""
    compilations: dict[TrainingConfig, list[Compilation]] = {}
    for trial in record.trials:
        if trial.compilation is not None:
            compilations.setdefault(trial.config, []).append(trial.compilation)
    return [" ".join(_compiled(record, config, found)) for config, found in compilations.items()]


def _compiled(record: RunRecord, config: TrainingConfig, found: Sequence[Compilation]) -> Iterator[str]:
    # The first start compiles all of it; later ones take much from the run's own cache.
    whole = max(found, key=lambda each: each.seconds)
    breaks, again = _count(whole.graph_breaks, "graph break"), _count(whole.recompilations, "recompilation")
    yield f"{config.label()}: compiling took {whole.seconds:.0f} s ({_count(whole.graphs, 'graph')}, {breaks}, {again})"
    ours, theirs = _common_ms(record, config, config.model_copy(update={"compile": False}))
    if not math.isfinite(ours):
        yield "and nothing was timed to set it off against."
    elif ours >= theirs:
        yield f"and is never paid back: the step is {ours / theirs:.2f}x as long as without it."
    else:
        steps = math.ceil(1000.0 * whole.seconds / (theirs - ours))
        images = steps * config.images_per_step
        epochs = f", {images / record.workload.images:.1f} epochs" if record.workload else ""
        yield f"and is paid back after {steps:,} steps{epochs}: {theirs / ours:.2f}x as fast as without it."
    if any(each.at_limit for each in found):
        yield "Parts of it were compiled as often as PyTorch allows, and run uncompiled for other shapes."
    late = sum(each.timed_steps for each in found)
    if late:
        yield f"It still compiled in {_count(late, 'timed step')}, which its figures hold."


def _common_ms(record: RunRecord, config: TrainingConfig, other: TrainingConfig) -> tuple[float, float]:
    """Mean step time of both over the steps that both timed; infinite where there are none."""
    ours, theirs = _ms_by_step(record.trials, config), _ms_by_step(record.trials, other)
    both = ours.keys() & theirs.keys()
    if not both:
        return math.inf, math.inf
    return fmean(ours[step] for step in both), fmean(theirs[step] for step in both)


def _ms_by_step(trials: Sequence[Trial], config: TrainingConfig) -> dict[int, float]:
    times: dict[int, list[float]] = {}
    for trial in trials:
        if trial.config == config:
            for step, ms in zip(trial.steps, trial.step_ms, strict=True):
                times.setdefault(step, []).append(ms)
    return {step: fmean(values) for step, values in times.items()}


def suggestion(record: RunRecord) -> str | None:
    """Which knobs to ask for where the device waits for much of a step; None where it does not, or they were tried."""
    profile = record.profile
    if profile is None or not record.is_search or _waits_share(profile) < _WAITS_AT_LEAST:
        return None
    # On a CPU compiling a detector takes minutes, more than a usual run.
    on_cpu = profile.device_type == "cpu"
    worth = [
        each for each in profile.advice if _is_worth_asking(each, record) and not (on_cpu and each.knob == "compile")
    ]
    if not worth:
        return None
    knobs = ",".join(each.knob for each in worth)
    most = " and ".join(f"{each.knob} at most {each.speedup_at_most:.2f}x" for each in worth)
    return (
        f"{_waits_share(profile):.0%} of the baseline's step is waiting, or kernels too small or slow for their work: "
        f"--knobs {knobs} would try what could help there ({most}, by the profile)."
    )


def _is_worth_asking(advice: Advice, record: RunRecord) -> bool:
    return advice.knob in EXTRA_KNOBS and advice.knob not in record.knobs and advice.speedup_at_most >= _WORTH_ASKING


def _waits_share(profile: Profile) -> float:
    whole_ms = sum(each.time_ms for each in profile.classes)
    waits_ms = sum(each.time_ms for each in profile.classes if each.bound in (Bound.HOST, Bound.LATENCY))
    return waits_ms / whole_ms if whole_ms else 0.0


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
