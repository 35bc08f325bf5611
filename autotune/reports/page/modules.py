"""Where the step goes: by module as a tree, by class and by phase as bars."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from autotune.profile_record import Bound, Phase, Profile
from autotune.reports import profile_sentences
from autotune.reports.layer_tree import module_path
from autotune.reports.page.embedding import rounded

__all__ = ["Bars", "Tree", "by_class", "by_module", "by_phase"]

_COMMUNICATION = "(communication)"
# Modules of a smaller share of the step are one leaf of their parent: nobody sees them, and a browser draws thousands
# for seconds.
_SMALLEST_SHARE = 0.003
_SMALLER = "(smaller)"

_Path = tuple[str, ...]


@dataclass(frozen=True)
class Tree:
    """Modules, parents before children, with a leaf for each phase; the root is the whole step.

    parents: index of each node's parent, -1 for the root. own_ms: a leaf's time, 0 elsewhere, so that no rounding
    makes children outgrow their parent. bounds: what bounds most of the time below a node.
    """

    labels: tuple[str, ...]
    parents: tuple[int, ...]
    own_ms: tuple[float | None, ...]
    bounds: tuple[str, ...]


@dataclass(frozen=True)
class Bars:
    """names: what the time went to, the largest first for classes; ms: per step; all sum to the step."""

    names: tuple[str, ...]
    ms: tuple[float | None, ...]
    shares: tuple[float | None, ...]


def by_module(profile: Profile) -> Tree:
    growing = _Growing()
    total_ms = _total_ms(profile)
    least_ms = _SMALLEST_SHARE * (profile.busy_ms + profile.waiting_ms)
    for layer in profile.layers:
        path = module_path(layer.layer)
        shown = next((length for length in range(len(path)) if total_ms[path[: length + 1]] < least_ms), len(path))
        leaf = layer.phase if shown == len(path) else _SMALLER
        growing.add((*path[:shown], leaf), layer.time_ms, layer.bound)
    if profile.waiting_ms:
        # For launches, or between kernels that were launched in time: as the classes have it.
        late = profile.host_ms >= profile.waiting_ms / 2
        growing.add(("(waiting)",), profile.waiting_ms, Bound.HOST if late else Bound.LATENCY)
    return growing.tree()


def _total_ms(profile: Profile) -> dict[_Path, float]:
    total_ms: defaultdict[_Path, float] = defaultdict(float)
    for layer in profile.layers:
        path = module_path(layer.layer)
        for length in range(len(path)):
            total_ms[path[: length + 1]] += layer.time_ms
    return total_ms


class _Growing:
    """A tree that gets its nodes as leaves are added."""

    def __init__(self) -> None:
        self._index: dict[_Path, int] = {(): 0}
        self._own_ms: defaultdict[_Path, float] = defaultdict(float)
        self._by_bound: defaultdict[_Path, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, path: _Path, time_ms: float, bound: Bound) -> None:
        self._own_ms[path] += time_ms
        for length in range(len(path) + 1):
            self._index.setdefault(path[:length], len(self._index))
            self._by_bound[path[:length]][bound] += time_ms

    def tree(self) -> Tree:
        bounds = (self._by_bound[path] for path in self._index)
        return Tree(
            labels=("step", *(path[-1] for path in self._index if path)),
            parents=(-1, *(self._index[path[:-1]] for path in self._index if path)),
            own_ms=tuple(rounded(self._own_ms.get(path, 0.0)) for path in self._index),
            bounds=tuple(str(max(times, key=times.__getitem__)) if times else "" for times in bounds),
        )


def by_class(profile: Profile) -> Bars:
    return _bars(profile, {total.bound: total.time_ms for total in profile_sentences.classes(profile)})


def by_phase(profile: Profile) -> Bars:
    """Forward, backward, optimizer and communication as the device works, and how long it idles between them."""
    times: dict[str, float] = dict.fromkeys(Phase, 0.0)
    times |= {"communication": 0.0, "idle": profile.waiting_ms}
    for layer in profile.layers:
        times["communication" if layer.layer == _COMMUNICATION else layer.phase] += layer.time_ms
    return _bars(profile, {name: time_ms for name, time_ms in times.items() if time_ms})


def _bars(profile: Profile, times: dict[str, float]) -> Bars:
    shares = (profile_sentences.share_of_step(profile, time_ms) for time_ms in times.values())
    return Bars(tuple(map(str, times)), tuple(map(rounded, times.values())), tuple(map(rounded, shares)))
