"""What the recordings in tests/data/h200 say: `python -m benchmarks.recorded_gpu`. Needs no GPU.

The runs' verdicts; how far losses lay from fp32's in their numerics checks; what the card reaches; the profiles'
modelled memory traffic beside what the card's own counters (NVML's GPM) saw; and what the first steps of each process
took, before the race.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median

from tabulate import tabulate

from autotune.datasheet import datasheet_of
from autotune.profile_record import Profile
from autotune.records import RunRecord, Stage, load_run
from autotune.tuner.numerics import apart, late
from benchmarks.ceilings import row

RECORDED = Path(__file__).parents[1] / "tests" / "data" / "h200"


def main() -> None:
    runs = {path.parent.name: load_run(path.parent) for path in sorted(RECORDED.glob("*/run.json"))}
    columns = ("recording", "trials", "measured, s", "verdict")
    _print(columns, (_verdict(name, run) for name, run in runs.items() if run.is_search))
    columns = ("recording", "config", "each step", "mean", "median", "mean over the later half")
    _print(columns, (line for name, run in runs.items() for line in _numerics(name, run)))
    profiles = {name: run.profile for name, run in runs.items() if run.profile}
    ceilings = next(iter(profiles.values())).ceilings
    assert ceilings is not None
    columns = ("ceiling", "median", "range", "samples", "of the datasheet")
    _print(columns, (row(each, "cuda") for each in ceilings.ceilings))
    columns = ("recording", "coverage", "rows", "modelled", "inflation", "DRAM, modelled", "DRAM, by GPM")
    _print(columns, (_profile(name, profile) for name, profile in profiles.items()))
    columns = ("recording", "config", "first step, s", "worst case, s", "first batch again, s", "timed steps, s")
    _print(columns, (line for name, run in runs.items() for line in _trials(name, run)))


def _print(columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    print(tabulate(rows, columns, tablefmt="github", disable_numparse=True), end="\n\n")


def _verdict(name: str, run: RunRecord) -> tuple[str, ...]:
    told = run.recommendation.verdict.sentence if run.recommendation else f"none: {run.status}"
    return name, str(len(run.trials)), f"{run.spent_s:.0f} of {run.budget_s:.0f}", told


def _numerics(name: str, run: RunRecord) -> Iterator[tuple[str, ...]]:
    checked = [trial for trial in run.trials if trial.stage is Stage.NUMERICS]
    for trial in checked[1:]:
        # fp32 comes first.
        found = apart(trial.losses, checked[0].losses)
        told = (f"{each:.1%}" for each in (fmean(found), median(found), late(found)))
        yield name, trial.config.label(), ", ".join(f"{each:.1%}" for each in found), *told


def _profile(name: str, profile: Profile) -> tuple[str, ...]:
    seen = [each.dram_bandwidth_percent for each in profile.nvml.samples] if profile.nvml else []
    known = [percent for percent in seen if percent is not None]
    return (
        name,
        f"{profile.coverage:.4%}",
        str(len(profile.layers)),
        f"{1.0 - sum(each.time_ms for each in profile.unmodelled) / profile.busy_ms:.1%}",
        f"{profile.inflation:.2f}x",
        f"{modelled_dram_percent(profile):.1f}%",
        f"{fmean(known):.1f}% ({min(known):.1f} to {max(known):.1f})",
    )


def modelled_dram_percent(profile: Profile) -> float:
    """The traffic that the cost model counts, of the datasheet's bandwidth: averaged over the unprofiled steps, as the
    card's counters are."""
    sheet = datasheet_of(profile.device)
    assert sheet is not None
    moved = sum(layer.bytes or 0.0 for layer in profile.layers)
    return 100.0 * moved / (fmean(profile.step_samples_ms) / 1000.0) / sheet.memory_bytes_per_second


def _trials(name: str, run: RunRecord) -> Iterator[tuple[str, ...]]:
    for trial in run.trials:
        if trial.warmup_ms and trial.worst_case_ms and trial.stage is not Stage.RACE:
            steps = ", ".join(f"{ms / 1000.0:.3f}" for ms in trial.step_ms)
            times = (trial.warmup_ms[0], trial.worst_case_ms, trial.warmup_ms[1])
            yield name, trial.config.label(), *(f"{ms / 1000.0:.3f}" for ms in times), steps or trial.detail


if __name__ == "__main__":
    main()
