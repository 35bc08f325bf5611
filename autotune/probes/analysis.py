"""A profile from a trace: who took the time, what bounds each, and what would help."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Annotated

from pydantic import ConfigDict, Field, PlainValidator, ValidationError

from autotune.config import MatmulPrecision, Precision, TrainingConfig
from autotune.errors import TraceError
from autotune.nvml_record import NvmlSeries
from autotune.probes.advice import advice_for
from autotune.probes.attribution import (
    TensorLists,
    Waits,
    costs_of,
    layers_of,
    places_of,
    unmodelled_of,
    work_of,
)
from autotune.probes.roofline import Roof
from autotune.probes.traces import Trace, TraceStep, link, read_trace, steps_of
from autotune.profile_record import (
    UNATTRIBUTED,
    Bound,
    Ceilings,
    ClassTotal,
    Positive,
    Profile,
)
from autotune.record_base import Record
from autotune.records import DeviceState, Machine

__all__ = ["profile_of_trace"]

# TF32 came with Ampere.
_TF32_FROM = (8, 0)
_PRECISE = {
    # precision: TF32 in (matrix products, convolutions)
    Precision.DEFAULT: (False, True),
    Precision.TF32: (True, True),
}


def profile_of_trace(path: str | Path, *, ceilings: Ceilings | None = None) -> Profile:
    """Analyse a trace that autotune recorded, or any other that torch.profiler exported.

    ceilings: those of the machine that ran it; None for what the trace itself carries, or its GPU's datasheet.
    Raises TraceError where it cannot be analysed.
    """
    trace = read_trace(path)
    facts = _facts(trace)
    links = link(trace)
    steps = steps_of(trace, links)
    places = places_of(trace, links)
    work = work_of(trace, links, steps, places.parent)
    costs = costs_of(trace, places.parent, facts.tensor_lists)
    ceilings = ceilings or facts.ceilings or _datasheet(trace)
    roof = _roof(trace, facts, ceilings or Ceilings(ceilings=(), measured=False))
    busy_ms, idle_ms = (each / len(steps) / 1e6 for each in (work.busy_ns, work.idle_ns))
    profile = Profile(
        model=facts.model or Path(path).name,
        config=facts.config,
        machine=facts.machine,
        device=_device_name(trace, facts.machine),
        device_type="cuda" if trace.has_device_events else "cpu",
        step_samples_ms=facts.step_samples_ms,
        profiled_step_ms=tuple(each / 1e6 for each in work.steps_ns),
        busy_ms=busy_ms,
        idle_ms=idle_ms,
        coverage=0.0,
        by_operator=places.by_operator,
        layers=(),
        classes=(),
        unmodelled=unmodelled_of(trace, work, costs),
        ceilings=ceilings,
        state=facts.state,
        nvml=facts.nvml,
    )
    waits = Waits.of(work, profile.waiting_ms)
    layers = layers_of(trace, links, steps, places, work, costs, roof, facts.modules, waits)
    unattributed_ms = sum(layer.time_ms for layer in layers if layer.layer == UNATTRIBUTED)
    profile = profile.model_copy(update={"layers": layers, "coverage": 1.0 - unattributed_ms / busy_ms})
    notes = tuple(_notes(trace, steps, facts, profile))
    return profile.model_copy(
        update={"classes": tuple(_totals(profile)), "advice": advice_for(profile), "notes": notes}
    )


class _Facts(Record):
    """What the recorder wrote into the trace beside the events; nothing, in a trace of another's."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)

    model: str | None = None
    modules: dict[str, str] = Field(default_factory=dict)
    step_samples_ms: tuple[Positive, ...] = ()
    config: TrainingConfig | None = None
    machine: Machine | None = None
    ceilings: Ceilings | None = None
    tensor_lists: Annotated[TensorLists, PlainValidator(TensorLists.of)] = TensorLists()
    state: DeviceState = DeviceState()
    nvml: NvmlSeries | None = None


def _facts(trace: Trace) -> _Facts:
    try:
        content = json.loads(trace.recorded or b"{}")
        return _Facts(**content) if isinstance(content, dict) else _Facts()
    except ValidationError as error:
        first = error.errors()[0]
        line = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (ValueError, TypeError, AttributeError) as error:
        line = str(error).splitlines()[0]
    raise TraceError(f"{trace.path}: what autotune wrote into it cannot be read ({line}); record it again")


def _roof(trace: Trace, facts: _Facts, ceilings: Ceilings) -> Roof:
    """Which float32 operands went through TF32; PyTorch's own choice where the trace does not say."""
    capability = facts.machine.compute_capability if facts.machine else None
    if capability is None and trace.devices and trace.devices[0].compute_major is not None:
        capability = (trace.devices[0].compute_major, trace.devices[0].compute_minor or 0)
    if not trace.has_device_events or (capability or (0, 0)) < _TF32_FROM:
        return Roof(ceilings)
    precision = (facts.config.precision if facts.config else None) or Precision.DEFAULT
    matrix, convolution = _PRECISE.get(precision, (False, precision is not Precision.FP32))
    products = facts.config.matmul_precision if facts.config else MatmulPrecision.DEFAULT
    if products is not MatmulPrecision.DEFAULT:
        matrix = products is not MatmulPrecision.HIGHEST
    return Roof(ceilings, tf32_matrix=matrix, tf32_convolution=convolution)


def _datasheet(trace: Trace) -> Ceilings | None:
    from autotune.datasheet import datasheet_ceilings

    return datasheet_ceilings(trace.devices[0].name) if trace.devices else None


def _device_name(trace: Trace, machine: Machine | None) -> str:
    if machine:
        return machine.device_name
    return trace.devices[0].name if trace.devices else ("a GPU" if trace.has_device_events else "a CPU")


def _totals(profile: Profile) -> Iterator[ClassTotal]:
    """The step by class, the largest first."""
    time_ms = dict.fromkeys(Bound, 0.0)
    counts = dict.fromkeys(Bound, 0)
    for layer in profile.layers:
        counts[layer.work_bound] += 1
        time_ms[layer.work_bound] += layer.time_ms
    counts[Bound.HOST] = sum(layer.bound is Bound.HOST for layer in profile.layers)
    time_ms[Bound.HOST] = profile.host_ms
    # A gap before a kernel that was launched in time is the device's own.
    time_ms[Bound.LATENCY] += sum(layer.idle_before_ms - layer.host_wait_ms for layer in profile.layers)
    for bound in sorted(Bound, key=lambda bound: -time_ms[bound]):
        if time_ms[bound] > 0.0 or counts[bound]:
            yield ClassTotal(bound=bound, time_ms=time_ms[bound], layers=counts[bound])


def _notes(trace: Trace, steps: tuple[TraceStep, ...], facts: _Facts, profile: Profile) -> Iterator[str]:
    if profile.by_operator:
        yield "The trace names no layers: its rows are operators. `autotune profile --model` records one that does."
    if any(step.is_whole_trace for step in steps):
        yield "The trace marks no steps: all of it counts as one."
    if profile.ceilings is None:
        yield "No ceilings are known for this device: no layer can be told compute-bound from memory-bound."
    if not (trace.operators.signature >= 0).any():
        yield "The trace holds no shapes: nothing has a cost. Record with record_shapes=True."
    if facts.nvml:
        yield from _counters(facts.nvml)


def _counters(series: NvmlSeries) -> Iterator[str]:
    """What the GPU's own counters say of the unprofiled steps: a check on the labels, on Hopper and later."""
    read = [sample for sample in series.samples if sample.dram_bandwidth_percent is not None]
    if read:
        dram, tensor, units = (
            median(getattr(sample, field) or 0.0 for sample in read)
            for field in ("dram_bandwidth_percent", "tensor_percent", "sm_percent")
        )
        yield (
            f"By the GPU's own counters (GPM), unprofiled steps used {dram:.0f}% of the memory bandwidth, "
            f"{tensor:.0f}% of the tensor cores' peak, and kept {units:.0f}% of the multiprocessors' time busy."
        )
