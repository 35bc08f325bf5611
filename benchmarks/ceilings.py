"""What this machine reaches, beside its datasheet, and how long it takes to find out.

Run by hand, on a quiet machine: python -m benchmarks.ceilings [DEVICE]. The cache is neither read nor written.
"""

from __future__ import annotations

import sys
import time

import psutil
import torch
from tabulate import tabulate

from autotune.probes.ceilings import measure_ceilings
from autotune.probes.device_state import StateProbe
from autotune.probes.machine import machine
from autotune.profile_record import Ceiling, CeilingKind

UNITS = {
    CeilingKind.COPY: ("GB/s", 1e-9),
    CeilingKind.HOST_TO_DEVICE: ("GB/s", 1e-9),
    CeilingKind.LAUNCH: ("us", 1e6),
}
FLOPS = {"cuda": ("TFLOP/s", 1e-12), "cpu": ("GFLOP/s", 1e-9)}


def row(ceiling: Ceiling, device_type: str) -> tuple[str, ...]:
    unit, scale = UNITS.get(ceiling.kind, FLOPS[device_type])
    low, high = scale * min(ceiling.samples), scale * max(ceiling.samples)
    return (
        f"{ceiling.kind.value} {ceiling.precision or ''}".strip(),
        f"{scale * ceiling.value:.3g} {unit}",
        f"{low:.3g} to {high:.3g}",
        str(len(ceiling.samples)),
        f"{ceiling.share:.0%}" if ceiling.share is not None else "",
    )


def main() -> None:
    name = sys.argv[1] if sys.argv[1:] else "cuda" if torch.cuda.is_available() else "cpu"
    device, here = torch.device(name), machine(name, torch.get_num_threads())
    began_s, began_cpu_s, probe = time.monotonic(), cpu_s(), StateProbe(here)
    ceilings = measure_ceilings(device, here)
    took_s = time.monotonic() - began_s
    state = probe.read(cpu_s() - began_cpu_s)
    print(f"{here.device_name}, torch {here.torch}, {here.threads} threads of {here.cpu_cores}")
    columns = ("ceiling", "median", "range", "samples", "of the datasheet")
    print(tabulate([row(each, device.type) for each in ceilings.ceilings], columns, tablefmt="github"))
    print(f"measured in {took_s:.1f} s")
    for note in ceilings.notes:
        print(note)
    print(state.model_dump_json(exclude_defaults=True))


def cpu_s() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main()
