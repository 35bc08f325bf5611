"""Layer by layer and phase by phase: time, cost and what bounds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autotune.probes.attribution.operator_costs import Costs
from autotune.probes.attribution.places import Place, Places
from autotune.probes.attribution.waits import Waits
from autotune.probes.attribution.waves import waves_of
from autotune.probes.attribution.work import Work
from autotune.probes.roofline import Roof, bound_of
from autotune.probes.traces.events import ABSENT, DeviceKind, Flags, Ints, Trace
from autotune.probes.traces.links import Links
from autotune.probes.traces.steps import TraceStep
from autotune.profile_record import UNATTRIBUTED, Bound, Layer, Phase, Unmodelled
from autotune.ranges import COMMUNICATION

__all__ = ["layers_of", "unmodelled_of"]

# In the names of cuDNN's kernels for Winograd and FFT.
_SHORTCUTS = ("winograd", "gcgemm", "fft")
_HOST_COPIES = ("Memcpy HtoD", "Memcpy DtoH")
# A byte that crosses to the host or from it counts twice in a cost: as read and as written.
_CROSSING = 2


@dataclass
class _Row:
    """What adds up for one place."""

    time_ns: int = 0
    modelled_ns: int = 0
    kernels: int = 0
    idle_before_ns: int = 0
    host_wait_ns: int = 0
    flops: float = 0.0
    bytes: float = 0.0
    crossed_bytes: float = 0.0
    compute_ms: float = 0.0
    memory_ms: float = 0.0
    shortcut_ns: int = 0
    wave_ns: float = 0.0
    grids_ns: int = 0
    first: int = 2**63 - 1
    flops_by_ceiling: dict[str, float] = field(default_factory=dict)


def layers_of(
    trace: Trace,
    links: Links,
    steps: Sequence[TraceStep],
    places: Places,
    work: Work,
    costs: Costs,
    roof: Roof,
    modules: Mapping[str, str],
    waits: Waits,
) -> tuple[Layer, ...]:
    """The rows of a profile, per step, in the order in which the layers first ran. Their times sum to the busy time."""
    rows: dict[Place, _Row] = {}
    _add_work(rows, trace, links, places, work, costs)
    counted = _in_steps(trace, steps) & _on_device(trace, links, costs)
    _add_costs(rows, places, costs, roof, counted, _from_host(trace, links, costs))
    ordered = sorted(rows.items(), key=lambda item: (tuple(Phase).index(item[0].phase), item[1].first))
    return tuple(_layer(place, row, len(steps), roof, modules, waits) for place, row in ordered)


def _add_work(rows: dict[Place, _Row], trace: Trace, links: Links, places: Places, work: Work, costs: Costs) -> None:
    waves = waves_of(trace, work.event)
    leaf = np.ones(len(trace.operators), dtype=bool)
    leaf[places.parent[places.parent != ABSENT]] = False
    begins = np.append(trace.operators.start_ns, 0)[work.operator]
    columns = zip(
        _places(links, places, work),
        work.time_ns.tolist(),
        work.idle_before_ns.tolist(),
        work.host_wait_ns.tolist(),
        np.append(costs.modelled, False)[work.operator].tolist(),
        (np.append(leaf, False)[work.operator] | (work.event != ABSENT)).tolist(),
        begins.tolist(),
        waves.tolist(),
        _shortcuts(trace, work.event).tolist(),
        strict=True,
    )
    for place, time_ns, idle_ns, wait_ns, modelled, counts, start, wave, shortcut in columns:
        row = rows.setdefault(place, _Row())
        row.time_ns += time_ns
        row.idle_before_ns += idle_ns
        row.host_wait_ns += wait_ns
        row.modelled_ns += time_ns if modelled else 0
        row.shortcut_ns += time_ns if shortcut else 0
        row.kernels += counts
        row.first = min(row.first, start)
        if wave == wave:  # not a number for what has no grid
            row.wave_ns += wave * time_ns
            row.grids_ns += time_ns


def _shortcuts(trace: Trace, event: Ints) -> Flags:
    """Which pieces of work are kernels of an algorithm with fewer multiplications than the direct convolution."""
    names = np.fromiter(
        (any(sign in name.lower() for sign in _SHORTCUTS) for name in trace.names), dtype=bool, count=len(trace.names)
    )
    found: Flags = (event != ABSENT) & np.append(names[trace.device_events.name], False)[event]
    return found


def _places(links: Links, places: Places, work: Work) -> Iterable[Place]:
    """The place of each piece of work: its operator's, or its launch's own where it ran in no operator."""
    launch = np.where(work.event != ABSENT, np.append(links.launch, ABSENT)[work.event], ABSENT)
    by_launch = np.append(places.launches, ABSENT)[launch]
    codes = np.where(work.operator != ABSENT, np.append(places.codes, ABSENT)[work.operator], by_launch)
    nowhere = Place(UNATTRIBUTED, Phase.FORWARD)
    for code, communicates in zip(codes.tolist(), work.communication.tolist(), strict=True):
        place = places.names[code] if code != ABSENT else nowhere
        yield Place(COMMUNICATION, place.phase) if communicates else place


def _in_steps(trace: Trace, steps: Sequence[TraceStep]) -> Flags:
    """Which operators began in a step, as the host ran them: up to the next one's range, the last to its own end."""
    opens = sorted(step.host_start_ns for step in steps)
    begins = trace.operators.start_ns
    return (begins >= opens[0]) & (begins < max(step.host_end_ns for step in steps))


def _on_device(trace: Trace, links: Links, costs: Costs) -> Flags:
    """Which operators with a cost ran on the device: in a GPU's trace those that speak for an event there. What a
    tensor on the host cost, as boxes' anchors do, the device's ceilings say nothing of."""
    if not trace.has_device_events:
        return np.ones(len(trace.operators), dtype=bool)
    found = np.zeros(len(trace.operators) + 1, dtype=bool)  # the last is ABSENT's
    found[np.append(costs.speaker, ABSENT)[links.operator]] = True
    return found[:-1]


def _from_host(trace: Trace, links: Links, costs: Costs) -> dict[int, int]:
    """The bytes that operators with a cost moved between the host's memory and the device's."""
    names = np.fromiter((name.startswith(_HOST_COPIES) for name in trace.names), dtype=bool, count=len(trace.names))
    events = np.flatnonzero(names[trace.device_events.name] & (trace.device_events.kind == DeviceKind.MEMCPY))
    operators = np.append(costs.speaker, ABSENT)[links.operator[events]]
    moved: dict[int, int] = {}
    for operator, size in zip(operators.tolist(), trace.device_events.moved_bytes[events].tolist(), strict=True):
        if operator != ABSENT and size > 0:
            moved[operator] = moved.get(operator, 0) + size
    return moved


def _add_costs(
    rows: dict[Place, _Row], places: Places, costs: Costs, roof: Roof, counted: Flags, from_host: Mapping[int, int]
) -> None:
    for operator, cost in costs.by_operator.items():
        if not counted[operator]:
            continue
        row = rows.get(places.names[places.codes[operator]])
        if row is None:  # it took no time on the device: its result had its own, or it moved nothing
            continue
        crossed = min(from_host.get(operator, 0), cost.bytes / _CROSSING)
        row.flops += cost.flops
        row.bytes += cost.bytes
        row.crossed_bytes += _CROSSING * crossed
        row.compute_ms += roof.compute_ms(cost)
        row.memory_ms += roof.memory_ms(cost.bytes - _CROSSING * crossed) + roof.host_copy_ms(crossed)
        if cost.flops:
            words = roof.arithmetic(cost)
            row.flops_by_ceiling[words] = row.flops_by_ceiling.get(words, 0.0) + cost.flops


def _layer(place: Place, row: _Row, steps: int, roof: Roof, modules: Mapping[str, str], waits: Waits) -> Layer:
    time_ms = row.time_ns / steps / 1e6
    modelled = row.modelled_ns / row.time_ns if row.time_ns else 0.0
    compute_ms, memory_ms = row.compute_ms / steps, row.memory_ms / steps
    host_wait_ms = waits.host * row.host_wait_ns / steps / 1e6
    own_gap_ms = waits.own * (row.idle_before_ns - row.host_wait_ns) / steps / 1e6
    # What mostly crosses to the host or from it has that way's ceiling alone, which no datasheet of a GPU tells.
    complete = roof.complete and (roof.knows_host_copies or row.crossed_bytes <= row.bytes / 2)
    work_bound, balanced = bound_of(time_ms, compute_ms, memory_ms, modelled=modelled, complete=complete)
    if place.layer == COMMUNICATION:
        work_bound, balanced = Bound.COMMUNICATION, False
    arithmetic = max(row.flops_by_ceiling, key=row.flops_by_ceiling.__getitem__, default="")
    return Layer(
        layer=place.layer,
        phase=place.phase,
        module=modules.get(place.layer, ""),
        time_ms=time_ms,
        kernels=row.kernels / steps,
        flops=row.flops / steps,
        bytes=row.bytes / steps,
        compute_ms=compute_ms,
        memory_ms=memory_ms,
        idle_before_ms=own_gap_ms + host_wait_ms,
        host_wait_ms=host_wait_ms,
        waves=row.wave_ns / row.grids_ns if row.grids_ns else None,
        modelled=modelled,
        arithmetic=arithmetic,
        bound=Bound.HOST if host_wait_ms > time_ms else work_bound,
        work_bound=work_bound,
        balanced=balanced and host_wait_ms <= time_ms,
        fewer_multiplications=row.shortcut_ns > row.time_ns / 2,
    )


def unmodelled_of(trace: Trace, work: Work, costs: Costs) -> tuple[Unmodelled, ...]:
    """The operators without a cost by the time that they took per step, the longest first."""
    operator = work.operator[work.operator != ABSENT]
    time_ns = work.time_ns[work.operator != ABSENT]
    without = ~costs.modelled[operator]
    totals = np.bincount(trace.operators.name[operator[without]], weights=time_ns[without], minlength=len(trace.names))
    longest = [code for code in np.argsort(-totals, kind="stable").tolist() if totals[code] > 0]
    return tuple(
        Unmodelled(operator=trace.names[code], time_ms=totals[code] / len(work.steps_ns) / 1e6) for code in longest
    )
