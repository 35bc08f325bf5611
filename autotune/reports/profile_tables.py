"""The small tables of a profile as text: classes, operators without a cost, ceilings."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from autotune.profile_record import Bound, Ceiling, CeilingKind, Profile
from autotune.reports.plain import printable
from autotune.reports.profile_sentences import classes, share_of_step
from autotune.reports.si import decimals, si

__all__ = ["ceilings_table", "class_headers", "class_notes", "class_rows", "class_table", "unmodelled_table"]

_UNMODELLED_SHOWN = 5
_NAME_WIDTH = 60


def class_table(profile: Profile) -> str:
    return _table(class_headers(profile), class_rows(profile))


def class_headers(profile: Profile) -> tuple[str, ...]:
    return ("bound", "ms", "of step", _rows_name(profile))


def class_notes(profile: Profile) -> list[str]:
    """How to read the classes, where it does not go without saying."""
    shown = {total.bound: total for total in profile.classes}
    rows, notes = _rows_name(profile), []
    if (host := shown.get(Bound.HOST)) and host.layers:
        waited = "the device waited for launches" if profile.device_type == "cuda" else "Python ran between operators"
        notes.append(
            f"host: how long {waited}; {rows} for which that is longer than they worked count a second time, with what "
            "bounds their work."
        )
    if (latency := shown.get(Bound.LATENCY)) and not latency.layers:
        notes.append("latency: the gaps between kernels that were launched in time.")
    if Bound.UNMODELLED in shown:
        notes.append(f"unmodelled: {rows} most of whose time has no cost, or no known ceiling to hold it against.")
    return notes


def _rows_name(profile: Profile) -> str:
    return "operators" if profile.by_operator else "layers"


def class_rows(profile: Profile) -> list[tuple[str, ...]]:
    """The classes under class_headers, the largest first."""
    totals = classes(profile)
    digits = decimals(max((total.time_ms for total in totals), default=0.0))
    return [
        (
            total.bound,
            f"{total.time_ms:.{digits}f}",
            f"{share_of_step(profile, total.time_ms):.1%}",
            str(total.layers),
        )
        for total in totals
    ]


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["left", *["right"] * (len(headers) - 1)]
    return tabulate(rows, headers=headers, colalign=align, disable_numparse=True) if rows else ""


def unmodelled_table(profile: Profile) -> str:
    """The operators without a cost that take the most time."""
    ranked = sorted(profile.unmodelled, key=lambda each: -each.time_ms)
    if not ranked:
        return ""
    times = [(_name(each.operator), each.time_ms) for each in ranked[:_UNMODELLED_SHOWN]]
    rest = ranked[_UNMODELLED_SHOWN:]
    if rest:
        times.append((f"{len(rest)} more", sum(each.time_ms for each in rest)))
    return _table(("operator without a cost", "ms"), [(name, f"{time_ms:.3f}") for name, time_ms in times])


def _name(text: str) -> str:
    line = printable(text)
    return line if len(line) <= _NAME_WIDTH else f"{line[: _NAME_WIDTH - 3]}..."


def ceilings_table(profile: Profile) -> str:
    """What the device reaches, or why that is not known."""
    if profile.ceilings is None or not profile.ceilings.ceilings:
        return "No ceilings: no layer was compared with what the device reaches."
    ceilings = profile.ceilings.ceilings
    if not profile.ceilings.measured:
        table = _table(("ceiling", "datasheet"), [(_ceiling_name(each), _value(each)) for each in ceilings])
        return f"Ceilings, not measured: the datasheet's.\n{table}"
    rows = [
        (
            _ceiling_name(each),
            _value(each),
            f"{each.spread:.1%}",
            f"{each.share:.0%}" if each.share is not None else "",
        )
        for each in ceilings
    ]
    return (
        f"{_table(('ceiling', 'reached', 'spread', 'of datasheet'), rows)}\n"
        "spread: largest less smallest sample, as a share of the median."
    )


def _ceiling_name(ceiling: Ceiling) -> str:
    return " ".join(filter(None, [ceiling.kind.replace("_", " "), ceiling.precision]))


def _value(ceiling: Ceiling) -> str:
    return si(ceiling.value, _UNITS[ceiling.kind])


_UNITS = {
    CeilingKind.MATRIX: "FLOP/s",
    CeilingKind.CONVOLUTION: "FLOP/s",
    CeilingKind.VECTOR: "FLOP/s",
    CeilingKind.COPY: "B/s",
    CeilingKind.HOST_TO_DEVICE: "B/s",
    CeilingKind.LAUNCH: "s",
}
