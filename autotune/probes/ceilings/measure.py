"""The ceilings of a machine, one after the other, each with its share of the time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from autotune.datasheet import Datasheet, datasheet_of
from autotune.probes.ceilings.flags import plain_flags, set_tf32
from autotune.probes.ceilings.sampling import Clock, Rung, rates
from autotune.probes.ceilings.works import convolution, copy, host_to_device, launch, matrix, vector
from autotune.probes.clock import timed
from autotune.profile_record import Ceiling, CeilingKind, Ceilings
from autotune.records import Machine

__all__ = ["measure_ceilings", "planned"]

# The samples of all ceilings together. Warm-up, the search for a size and the loading of kernels take about as long.
_BUDGET_S = 6.0
# One ceiling: long enough for a GPU's clocks to settle under load.
_SHARE_AT_MOST_S = 1.0

_PER_PRECISION: dict[CeilingKind, Callable[[torch.device, str], list[Rung]]] = {
    CeilingKind.MATRIX: matrix,
    CeilingKind.CONVOLUTION: convolution,
}
_ONCE: dict[CeilingKind, Callable[[torch.device], list[Rung]]] = {
    CeilingKind.VECTOR: vector,
    CeilingKind.COPY: copy,
    CeilingKind.HOST_TO_DEVICE: host_to_device,
    CeilingKind.LAUNCH: launch,
}


def planned(machine: Machine) -> tuple[tuple[CeilingKind, str | None], ...]:
    """The ceilings that a machine has, with their precisions, in the order in which they are measured."""
    kinds = [(kind, precision) for precision in _precisions(machine) for kind in _PER_PRECISION]
    here = [kind for kind in _ONCE if machine.device_type == "cuda" or kind is not CeilingKind.HOST_TO_DEVICE]
    return (*kinds, *((kind, None) for kind in here))


def measure_ceilings(
    device: torch.device, machine: Machine, *, clock: Clock = timed, budget_s: float = _BUDGET_S
) -> Ceilings:
    """Measure every ceiling of device within about twice budget_s; the machine's datasheet stands beside them.

    MATRIX and CONVOLUTION: dense products and 3x3 convolutions of random data, counting a multiply-add as two, in
    fp32 (TF32 off), tf32, fp16 and bf16 where the GPU has them; fp32, and bf16 where it is native, on a CPU.
    VECTOR: fp32 multiply-adds in registers, without tensor cores. A CPU computes matrix products with the same units
    as everything else, so there, and where torch cannot compile the GPU kernel, VECTOR is the fp32 MATRIX figure.
    COPY counts bytes read and written. LAUNCH: an empty kernel, or an in-place operator on one element on a CPU.

    A ceiling that fails, for want of memory or of support, is left out, with a sentence in the notes. torch's flags
    and random state stay as they were. Raises DeviceError where torch's newer precision settings are in use.
    """
    kinds = planned(machine)
    share_s = min(_SHARE_AT_MOST_S, budget_s / len(kinds))
    sheet, notes = _datasheet(machine)
    found: dict[tuple[CeilingKind, str | None], tuple[float, ...]] = {}
    with plain_flags(device.type), _current(device):
        for kind, precision in kinds:
            if kind is CeilingKind.VECTOR and device.type == "cpu":
                failure = "a CPU has no other units for it"
            else:
                values, failure = _attempt(kind, precision, device, clock, share_s)
                if values:
                    found[kind, precision] = values
            product = found.get((CeilingKind.MATRIX, "fp32"))
            if kind is CeilingKind.VECTOR and failure and product:
                found[kind, precision] = product
                notes.append(f"vector: the matrix product's figure in fp32 ({failure})")
            elif failure:
                notes.append(f"{_name(kind, precision)}: not measured ({failure})")
    ceilings = tuple(
        Ceiling(
            kind=kind,
            precision=precision,
            samples=values,
            datasheet=sheet.figure(kind, precision) if sheet else None,
        )
        for (kind, precision), values in found.items()
    )
    return Ceilings(ceilings=ceilings, notes=tuple(notes))


def _precisions(machine: Machine) -> list[str]:
    if machine.device_type == "cpu":
        return ["fp32", "bf16"] if machine.native_bf16 else ["fp32"]
    # Volta brought tensor cores for fp16, Ampere for TF32 and bf16.
    since = {"fp32": (0, 0), "tf32": (8, 0), "fp16": (7, 0), "bf16": (8, 0)}
    return [precision for precision, least in since.items() if (machine.compute_capability or (0, 0)) >= least]


def _datasheet(machine: Machine) -> tuple[Datasheet | None, list[str]]:
    """The device's datasheet; none, with a note, where the device is a part of the GPU that its name tells."""
    sheet = datasheet_of(machine.device_name)
    if sheet and machine.multiprocessors not in (None, sheet.multiprocessors):
        note = f"no datasheet: {sheet.name} has {sheet.multiprocessors} SMs, this device {machine.multiprocessors}"
        return None, [note]
    return sheet, []


def _attempt(
    kind: CeilingKind, precision: str | None, device: torch.device, clock: Clock, share_s: float
) -> tuple[tuple[float, ...], str]:
    """Samples of one ceiling in its unit, or no samples and why."""
    set_tf32(precision == "tf32")
    try:
        ladder = _PER_PRECISION[kind](device, precision) if precision else _ONCE[kind](device)
        per_second = rates(ladder, device, clock, share_s)
        return (tuple(1.0 / rate for rate in per_second) if kind is CeilingKind.LAUNCH else per_second), ""
    except (RuntimeError, MemoryError, AttributeError, AssertionError) as error:
        # torch says "out of memory" and "not supported" by RuntimeError; the latter two are private parts that went.
        failure = " ".join(str(error).split())[:200] or type(error).__name__
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return (), failure


def _current(device: torch.device) -> AbstractContextManager[object]:
    """The device's own stream for the clock's events."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _name(kind: CeilingKind, precision: str | None) -> str:
    return f"{kind.value} {precision}" if precision else kind.value
