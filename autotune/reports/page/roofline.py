"""The roofline: a point per layer and phase, and the roofs above them.

Williams, Waterman, Patterson: Roofline, an insightful visual performance model, CACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from autotune.profile_record import Ceiling, CeilingKind, Layer, Profile
from autotune.reports.page.embedding import rounded
from autotune.reports.si import si

__all__ = ["Roof", "Roofline", "point", "roofline"]

_ARITHMETIC = (CeilingKind.MATRIX, CeilingKind.CONVOLUTION, CeilingKind.VECTOR)
# How far beyond the outermost points the roofs reach.
_MARGIN = 3.0


@dataclass(frozen=True)
class Roof:
    """The most FLOP/s at each intensity, from one ceiling of arithmetic and the memory's bandwidth.

    x: FLOP/byte, y: FLOP/s: the slope's left end, the ridge, the flat part's right end. measured: False for the
    datasheet's. used: False where no layer was compared with this ceiling.
    """

    name: str
    measured: bool
    used: bool
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Roofline:
    """x, y: one per layer of the profile, None where a layer has no place, for want of FLOPs, bytes or time."""

    x: tuple[float | None, ...]
    y: tuple[float | None, ...]
    roofs: tuple[Roof, ...]
    note: str


def roofline(profile: Profile) -> Roofline:
    points = [point(layer) for layer in profile.layers]
    return Roofline(
        x=tuple(rounded(p[0]) if p else None for p in points),
        y=tuple(rounded(p[1]) if p else None for p in points),
        roofs=tuple(_roofs(profile, [p[0] for p in points if p])),
        note=_note(profile, [layer for layer, p in zip(profile.layers, points, strict=True) if not p]),
    )


def point(layer: Layer) -> tuple[float, float] | None:
    """(FLOP/byte, FLOP/s); None where logarithmic axes have no place for it."""
    if min(layer.flops, layer.bytes, layer.time_ms) <= 0.0:
        return None
    place = layer.flops / layer.bytes, layer.flops_per_second
    return place if all(map(math.isfinite, place)) else None


def _roofs(profile: Profile, intensities: list[float]) -> Iterator[Roof]:
    found = profile.ceilings.ceilings if profile.ceilings else ()
    measured = bool(profile.ceilings and profile.ceilings.measured)
    memory = next((each for each in found if each.kind is CeilingKind.COPY), None)
    arithmetic = [each for each in found if each.kind in _ARITHMETIC]
    if memory is None:
        return
    compared = {layer.arithmetic for layer in profile.layers if layer.arithmetic}
    # (ceiling, FLOP/s, bytes/s, measured), the datasheet's beside the measured one.
    pairs = [(each, each.value, memory.value, True) for each in arithmetic if measured]
    pairs += [
        (each, each.datasheet, memory.datasheet, False) for each in arithmetic if each.datasheet and memory.datasheet
    ]
    places = [*intensities, *(flops / bandwidth for _, flops, bandwidth, _ in pairs)]
    for ceiling, flops, bandwidth, real in sorted(pairs, key=lambda pair: arithmetic.index(pair[0])):
        # Exact, not rounded: a roof must not fall below the points that touch it.
        left, ridge, right = min(places) / _MARGIN, flops / bandwidth, max(places) * _MARGIN
        source = "measured" if real else "datasheet"
        yield Roof(
            name=f"{_name(ceiling)}, {source}: {si(flops, 'FLOP/s')}, {si(bandwidth, 'B/s')}",
            measured=real,
            used=_name(ceiling) in compared or not compared,
            x=(left, ridge, right),
            y=(left * bandwidth, flops, flops),
        )


def _name(ceiling: Ceiling) -> str:
    return " ".join(filter(None, [ceiling.kind, ceiling.precision]))


def _note(profile: Profile, absent: list[Layer]) -> str:
    if not absent:
        return f"{len(profile.layers)} points, one per layer and phase."
    share = sum(layer.time_ms for layer in absent) / profile.busy_ms if profile.busy_ms else 0.0
    return (
        f"{len(profile.layers) - len(absent)} points, one per layer and phase. {len(absent)} more, {share:.1%} of the "
        "busy time, have no FLOPs or no bytes to be placed by; the table of layers has them."
    )
