"""Which layers of a profile are shown, and the tree of modules that they stand in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from autotune.profile_record import UNATTRIBUTED, Layer, Profile

__all__ = ["LAYERS_SHOWN", "Row", "Selection", "module_path", "rows", "select"]

LAYERS_SHOWN = 40
_COVERED = 0.9
# The row of a module's own work, where its children have rows too.
_ITSELF = "(itself)"

_Path = tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """covering: the fewest layers that take 90% of the busy time; shown: those of them that get a row.

    What is attributed to no layer is in both, however little it is. Largest first.
    """

    covering: tuple[Layer, ...]
    shown: tuple[Layer, ...]


@dataclass(frozen=True)
class Row:
    """A layer; or a subtotal over all layers under a name, shown or not, where layer is None.

    folded: how many layers a subtotal stands for where none of them has a row; 0 elsewhere.
    """

    depth: int
    label: str
    time_ms: float
    layer: Layer | None = None
    folded: int = 0


def select(profile: Profile, limit: int = LAYERS_SHOWN) -> Selection:
    """The layers to show: those that take 90% of the busy time, and at most limit of them."""
    covering: list[Layer] = []
    covered_ms = 0.0
    for each in sorted(profile.layers, key=lambda layer: -layer.time_ms):
        if each.time_ms <= 0.0:
            break
        if covered_ms < _COVERED * profile.busy_ms or each.layer == UNATTRIBUTED:
            covering.append(each)
        covered_ms += each.time_ms
    shown = [each for rank, each in enumerate(covering) if rank < limit or each.layer == UNATTRIBUTED]
    return Selection(tuple(covering), tuple(shown))


def rows(layers: Sequence[Layer], selection: Selection) -> list[Row]:
    """The tree, parents before children and the largest first; layers: all of the profile, for the subtotals.

    Chains of parents with one child are one row. A subtree without a shown layer is one row, its subtotal.
    """
    return list(_Drawing(layers, selection).below(_tree(selection.covering), depth=0))


@dataclass
class _Module:
    path: _Path = ()
    own: list[Layer] = field(default_factory=list)
    children: dict[str, _Module] = field(default_factory=dict)


def module_path(name: str) -> _Path:
    """A layer's name as the modules it lies in, itself last. Names in parentheses are no modules, and stand alone."""
    return (name,) if name.startswith("(") else tuple(name.split("."))


def _tree(layers: Sequence[Layer]) -> _Module:
    root = _Module()
    for each in layers:
        module = root
        for part in module_path(each.layer):
            module = module.children.setdefault(part, _Module((*module.path, part)))
        module.own.append(each)
    return root


class _Drawing:
    """Turns modules into rows; knows what is shown, and what every name's layers take in all."""

    def __init__(self, layers: Sequence[Layer], selection: Selection) -> None:
        self._shown = {(each.layer, each.phase) for each in selection.shown}
        self._total_ms: defaultdict[_Path, float] = defaultdict(float)
        self._count: defaultdict[_Path, int] = defaultdict(int)
        for each in layers:
            path = module_path(each.layer)
            for length in range(1, len(path) + 1):
                self._total_ms[path[:length]] += each.time_ms
                self._count[path[:length]] += 1

    def below(self, module: _Module, depth: int) -> Iterator[Row]:
        """The rows of a module's children, and of its own layers where it has any."""
        groups = [
            self._leaves(module, _ITSELF, depth),
            *(list(self._module(child, depth)) for child in module.children.values()),
        ]
        for group in sorted(filter(None, groups), key=_height, reverse=True):
            yield from group

    def _module(self, module: _Module, depth: int) -> Iterator[Row]:
        label = module.path[-1]
        while not module.own and len(module.children) == 1:
            (module,) = module.children.values()
            label += f".{module.path[-1]}"
        if not module.children:
            yield from self._leaves(module, label, depth)
            return
        rows = list(self.below(module, depth + 1))
        shown = any(row.layer for row in rows)
        folded = 0 if shown else self._count[module.path]
        yield Row(depth, label, self._total_ms[module.path], folded=folded)
        if shown:
            yield from rows

    def _leaves(self, module: _Module, label: str, depth: int) -> list[Row]:
        return [
            Row(depth, label, each.time_ms, layer=each)
            for each in module.own
            if (each.layer, each.phase) in self._shown
        ]


def _height(group: Sequence[Row]) -> float:
    """What a group of rows is sorted by: its subtotal, or the sum of a module's phases."""
    return group[0].time_ms if group[0].layer is None else sum(row.time_ms for row in group)
