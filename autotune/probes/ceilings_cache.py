"""Ceilings are measured once per machine and software, and kept beside the answers of recommend()."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from pydantic import ValidationError

from autotune.cache import folder
from autotune.probes.ceilings import measure_ceilings, planned
from autotune.probes.clock_events import SLOWDOWNS
from autotune.probes.device_state import StateProbe
from autotune.profile_record import Ceilings
from autotune.records import DeviceState, Machine

__all__ = ["ceilings_for"]

_log = logging.getLogger(__name__)
# To be raised when what is measured, or how, changes within one version.
_FORMAT = 1
# Under full load most GPUs run at their power limit: that is the machine, and no disturbance.
_STEADY = frozenset({"software power cap"}) & SLOWDOWNS
# Share of a machine's cores that others may keep busy beside a measurement on the CPU.
_LOAD_SHARE = 0.1
# What decides the figures and is no part of the Machine.
_ENVIRONMENT = ("NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def ceilings_for(
    device: torch.device,
    machine: Machine,
    *,
    refresh: bool = False,
    measure: Callable[[torch.device, Machine], Ceilings] = measure_ceilings,
) -> Ceilings:
    """The machine's ceilings from the cache, or measured now: some 10 to 20 s. refresh: measure though they are there.

    Figures are kept only where all were measured, nothing slowed the device down and no other process disturbed it;
    the notes say why others were not. A damaged file is measured again.
    """
    path = folder() / f"ceilings-{_digest(machine, torch.get_num_threads())}.json"
    if not refresh and (kept := _load(path)) is not None:
        return kept
    # The state is read while the device works: idle, a GPU shows nothing.
    own_s, probe = _own_cpu_s(), StateProbe(machine)
    try:
        ceilings = measure(device, machine)
        state = probe.read(_own_cpu_s() - own_s)
    finally:
        probe.close()
    notes = list(ceilings.notes)
    if _STEADY & set(state.throttled):
        notes.append("the GPU held its power limit meanwhile, as under any full load: these are the rates it sustains")
    disturbances = _disturbances(state, machine)
    reasons = [*disturbances, *_missing(ceilings, machine)]
    if reasons:
        notes.append(f"the ceilings are not kept in the cache, and measured anew next time: {'; '.join(reasons)}")
    ceilings = ceilings.model_copy(update={"notes": tuple(notes), "disturbances": tuple(disturbances)})
    if not reasons:
        _save(path, ceilings)
    return ceilings


def _disturbances(state: DeviceState, machine: Machine) -> list[str]:
    """What held the device back or shared it."""
    reasons = [f"the GPU was slowed down ({event})" for event in state.throttled if event not in _STEADY]
    if state.other_gpu_processes:
        reasons.append(f"{state.other_gpu_processes} other processes were on the GPU")
    if (state.cpu_load_by_others or 0.0) > _LOAD_SHARE * machine.cpu_cores:
        reasons.append(f"other processes kept {state.cpu_load_by_others:.1f} of {machine.cpu_cores} cores busy")
    return reasons


def _missing(ceilings: Ceilings, machine: Machine) -> list[str]:
    """A want of memory, or of a right to pinned memory, may be gone next time."""
    found = {(ceiling.kind, ceiling.precision) for ceiling in ceilings.ceilings}
    return ["not all could be measured"] if set(planned(machine)) - found else []


def _digest(machine: Machine, threads: int) -> str:
    """The device and the software that decides its speed: not the host's name, which a container draws anew.

    threads: those that measure. A caller may have chosen others than the machine's default.
    """
    parts = (
        _FORMAT,
        machine.device_type,
        machine.device_uuid or machine.device_name,
        machine.multiprocessors,
        machine.device_memory_bytes,
        machine.driver,
        machine.cuda,
        machine.cudnn,
        machine.cpu_name,
        machine.cpu_cores,
        threads,
        machine.torch,
        machine.autotune,
        *(os.environ.get(name) for name in _ENVIRONMENT),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _load(path: Path) -> Ceilings | None:
    try:
        return Ceilings.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{error.error_count()} fields are damaged"
        _log.warning("%s: no ceilings can be read there (%s); measuring again", path, reason)
        return None


def _save(path: Path, ceilings: Ceilings) -> None:
    """Put a whole file in place at once, whoever else does. A cache that cannot be written only costs time again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(ceilings.model_dump_json(exclude_computed_fields=True))
            Path(partial).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(partial).unlink()
            raise
    except OSError as error:
        _log.warning("%s cannot be written (%s); the next call will measure again", path, error.strerror)


def _own_cpu_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
