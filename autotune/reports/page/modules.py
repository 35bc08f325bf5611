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


@dataclass(frozen=True)
class Tree:
    """Modules, parents before children, then a leaf for each layer and phase; the root is the whole step.

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
    labels, parents, own_ms = ["step"], [-1], [0.0]
    by_bound: list[defaultdict[str, float]] = [defaultdict(float)]
    index: dict[tuple[str, ...], int] = {(): 0}

    def node(label: str, parent: int, time_ms: float = 0.0) -> int:
        labels.append(label)
        parents.append(parent)
        own_ms.append(time_ms)
        by_bound.append(defaultdict(float))
        return len(labels) - 1

    for layer in profile.layers:
        path = module_path(layer.layer)
        lineage = [0]
        for length in range(1, len(path) + 1):
            prefix = path[:length]
            if prefix not in index:
                index[prefix] = node(prefix[-1], lineage[-1])
            lineage.append(index[prefix])
        lineage.append(node(layer.phase, lineage[-1], layer.time_ms))
        for each in lineage:
            by_bound[each][layer.bound] += layer.time_ms
    if profile.waiting_ms:
        by_bound[node("(waiting)", 0, profile.waiting_ms)][Bound.HOST] = profile.waiting_ms
    bounds = (max(times, key=times.__getitem__) if times else "" for times in by_bound)
    return Tree(tuple(labels), tuple(parents), tuple(map(rounded, own_ms)), tuple(map(str, bounds)))


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
