"""The layers of a profile as a table of text, at most WIDTH columns wide: the tree of modules with subtotals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabulate import simple_separated_format, tabulate

from autotune.profile_record import Profile
from autotune.reports.layer_tree import Row, Selection, rows, select
from autotune.reports.plain import printable
from autotune.reports.profile_sentences import share_of_step
from autotune.reports.si import decimals, milliseconds, si

__all__ = ["WIDTH", "notes", "table"]

WIDTH = 120
# Two lines each; the first column gets what the others leave.
_HEADERS = (
    ("", "layer"),
    ("", "phase"),
    ("", "ms"),
    ("of", "step"),
    ("", "bound"),
    ("", "compute"),
    ("", "memory"),
    ("", "FLOP/s"),
    ("", "byte/s"),
    ("FLOP/", "byte"),
    ("", "kernels"),
    ("", "waves"),
    ("idle", "before"),
)
_LEFT = {"layer", "operator", "phase", "bound"}
_GAP = 1
_NARROWEST_LABEL = 16
_FORMAT = simple_separated_format(" " * _GAP)


def table(profile: Profile) -> str:
    """The layers that take 90% of the busy time; empty where none took any."""
    drawn = rows(profile.layers, select(profile))
    if not drawn:
        return ""
    digits = decimals(max(row.time_ms for row in drawn))
    body = [[printable(cell) for cell in _cells(profile, row, digits)] for row in drawn]
    columns = [list(line) for line in zip(*_HEADERS, strict=True)]
    columns[1][0] = _noun(profile, 1)  # of the header's second line
    # A column without a figure says nothing: waves on a CPU, ratios without ceilings.
    kept = [0, *(index for index in range(1, len(_HEADERS)) if any(cells[index] for cells in body))]
    lines = [[line[index] for index in kept] for line in [*columns, *body]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(kept))]
    room = max(WIDTH - sum(width + _GAP for width in widths[1:]), _NARROWEST_LABEL)
    for line, row in zip(lines[len(columns) :], drawn, strict=True):
        line[0] = _label(row, line[0], room)
    widths[0] = max(len(line[0]) for line in lines)
    return _aligned([*lines[:2], ["-" * width for width in widths], *lines[2:]])


def notes(profile: Profile) -> list[str]:
    """How to read the table, what is flagged in it, and last what it leaves out."""
    selection = select(profile)
    return [
        *_legend(profile, selection),
        *_shortcuts(selection),
        *_flagged(profile, selection),
        *_left_out(profile, selection),
    ]


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    # Room for names: one space between columns, and headers as rows, since tabulate pads a header by two.
    align = ["left" if name in _LEFT else "right" for name in lines[1]]
    text = tabulate(lines, tablefmt=_FORMAT, colalign=align, disable_numparse=True, preserve_whitespace=True)
    return "\n".join(line.rstrip() for line in text.splitlines())


def _label(row: Row, name: str, room: int) -> str:
    """The name behind its indentation; of one that is too long the end, which tells more."""
    indent = "  " * row.depth
    left = max(room - len(indent), 4)
    return indent + (name if len(name) <= left else f"...{name[3 - left :]}")


def _cells(profile: Profile, row: Row, digits: int) -> list[str]:
    share = f"{share_of_step(profile, row.time_ms):.1%}"
    each = row.layer
    if each is None:
        count = _count(profile, row.folded) if row.folded else ""
        return [row.label, count, f"{row.time_ms:.{digits}f}", share, *[""] * (len(_HEADERS) - 4)]
    return [
        row.label,
        each.phase,
        f"{row.time_ms:.{digits}f}",
        share,
        "balanced" if each.balanced else each.bound,
        _fewer(each.compute_ratio) if each.fewer_multiplications else _ratio(each.compute_ratio),
        _ratio(each.memory_ratio),
        si(each.flops_per_second) if each.flops else "",
        si(each.bytes_per_second) if each.bytes else "",
        _figure(each.intensity),
        _figure(each.kernels),
        _figure(each.waves),
        f"{each.idle_before_ms:.{digits}f}" if each.idle_before_ms else "",
    ]


def _ratio(value: float) -> str:
    # The threshold is Layer.above_ceiling's, which is of either ratio: the mark stands at the one that exceeds it.
    return f"{value:.0%}{'!' if value > 1.1 else ''}" if value else ""


def _fewer(value: float) -> str:
    # No share of its time: above 110% it says nothing against the ceiling, below it the units are used less.
    return f"{value:.0%}*" if value else ""


def _figure(value: float | None) -> str:
    """A count or a ratio in about three digits."""
    if not value:
        return ""
    if value >= 1e5:
        return si(value)
    return (
        f"{value:.0f}" if value >= 10.0 or value == int(value) else f"{value:.1f}" if value >= 1.0 else f"{value:.2g}"
    )


def _legend(profile: Profile, selection: Selection) -> Iterator[str]:
    if not selection.shown:
        return
    # Only of columns that are there: table() leaves out those without a figure.
    parts = []
    if any(each.compute_ratio or each.memory_ratio for each in selection.shown):
        parts.append(
            "compute, memory: the share of its time that its arithmetic, its memory traffic takes at the ceiling."
        )
    if any(each.intensity for each in selection.shown):
        parts.append("FLOP/byte: its arithmetic intensity, where a roofline has it.")
    if any(each.waves for each in selection.shown):
        parts.append("waves: how often its grids fill the device.")
    if any(each.idle_before_ms for each in selection.shown):
        parts.append("idle before: ms in which the device stood idle before its kernels.")
    if not profile.by_operator:
        parts.append("Rows without a bound are subtotals over all layers of that name, shown or not.")
    if parts:
        yield " ".join(parts)
    if any(each.balanced for each in selection.shown):
        yield "balanced: arithmetic and memory traffic take within 10% of each other; counted as the larger."


def _shortcuts(selection: Selection) -> Iterator[str]:
    if any(each.fewer_multiplications and each.compute_ratio for each in selection.shown):
        yield "* done with fewer multiplications than are counted (Winograd, FFT): its units are used less than that."


def _flagged(profile: Profile, selection: Selection) -> Iterator[str]:
    flagged = sum(each.above_ceiling for each in profile.layers)
    if not flagged:
        return
    hidden = flagged - sum(each.above_ceiling for each in selection.shown)
    where = f", {'none' if hidden == flagged else flagged - hidden} of them shown," if hidden else ""
    yield (
        f"! {_count(profile, flagged)}{where} above 110% of a ceiling: a wrong cost or ceiling, or caches served what "
        "memory is counted for."
        + (" Small layers on a CPU stay in its caches." if profile.device_type == "cpu" else "")
    )


def _left_out(profile: Profile, selection: Selection) -> Iterator[str]:
    if len(selection.shown) < len(selection.covering):
        yield (
            f"{_count(profile, len(selection.covering))} take 90% of the busy time; {len(selection.shown)} of them "
            "have rows, the others are in the subtotals of their parents."
        )
    shown = {(each.layer, each.phase) for each in selection.shown}
    rest = [each for each in profile.layers if (each.layer, each.phase) not in shown]
    if rest:
        rest_ms = sum(each.time_ms for each in rest)
        share = rest_ms / profile.busy_ms if profile.busy_ms else 0.0
        more = f"{len(rest)} more {_noun(profile, len(rest))}"
        yield f"{more} took {milliseconds(rest_ms, profile.busy_ms)}, {share:.1%} of the busy time."


def _count(profile: Profile, count: int) -> str:
    return f"{count} {_noun(profile, count)}"


def _noun(profile: Profile, count: int) -> str:
    one = "operator" if profile.by_operator else "layer"
    return one if count == 1 else f"{one}s"
