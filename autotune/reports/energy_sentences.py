"""How the energy of trials was measured, in words."""

from __future__ import annotations

from autotune.energy_record import EnergySource
from autotune.records import RunRecord

__all__ = ["energy"]


def energy(record: RunRecord) -> str | None:
    """Where the joules come from and how exact one trial's are; None on a CPU, and where nothing was timed."""
    timed = [trial for trial in record.trials if trial.step_ms]
    if not timed or record.machine is None or record.machine.device_type == "cpu":
        return None
    found = [trial.energy for trial in timed if trial.energy]
    if not found:
        return "not measured: NVML told none"
    words = {
        EnergySource.COUNTER: "NVML's total-energy counter before and after the timed steps",
        EnergySource.POWER: "samples of instant power over the timed steps, since NVML has no energy counter here",
    }
    how = "; ".join(words[source] for source in EnergySource if any(each.source is source for each in found))
    errors = sorted(each.resolution_s / each.window_s for each in found)
    few = "" if len(found) == len(timed) else f", told in {len(found)} of {len(timed)} trials"
    return (
        f"whole GPU, by {how}{few}; at either end a trial's may be off by up to {errors[len(errors) // 2]:.1%} "
        "(median trial), at random, which blocks of the race average out and their interval holds"
    )
