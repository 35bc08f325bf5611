"""From a kernel to the call that launched it, to its operator, and from a backward operator to its forward one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from autotune.probes.traces.events import ABSENT, DeviceEvents, Flags, Ints, Launches, Operators, Trace
from autotune.probes.traces.nesting import enclosing

__all__ = ["Links", "link"]

_COMMUNICATION = "nccl"
_FORWARD = 0


@dataclass(frozen=True, eq=False)
class Links:
    """Rows that belong together, ABSENT where there is none.

    launch: for each device event, the call that launched it. operator: for each device event, the innermost operator
    around that call, on the call's thread. communication: which device events are NCCL's: they wait for other ranks,
    so that their time says nothing of the operator. forward: for each operator, the forward operator that made the
    autograd node it runs in; ABSENT for a forward operator.
    """

    launch: Ints
    operator: Ints
    communication: Flags
    forward: Ints


def link(trace: Trace) -> Links:
    launch = _launch_of(trace.device_events, trace.launches)
    return Links(
        launch=launch,
        operator=_take(enclosing(trace.operators, trace.launches), launch),
        communication=trace.starts_with(trace.device_events, _COMMUNICATION),
        forward=_forward_of(trace.operators),
    )


def _launch_of(events: DeviceEvents, launches: Launches) -> Ints:
    """By correlation id, whatever the call's name: one graph launch has many kernels, and order means nothing."""
    known = np.flatnonzero(launches.correlation > 0)
    known = known[np.argsort(launches.correlation[known], kind="stable")]
    ids = launches.correlation[known]
    place = np.searchsorted(ids, events.correlation)
    found = np.append(ids, ABSENT)[place] == events.correlation
    return np.where(found & (events.correlation > 0), np.append(known, ABSENT)[place], ABSENT)


def _forward_of(operators: Operators) -> Ints:
    """By forward thread and sequence number; an operator inside a backward one has no number and takes its link."""
    forward = np.full(len(operators), ABSENT, dtype=np.int64)
    numbered = operators.sequence >= 0
    made = _makers(operators, np.flatnonzero(numbered & (operators.forward_thread == _FORWARD)))
    backward = np.flatnonzero(numbered & (operators.forward_thread > _FORWARD))
    thread_of = _forward_threads(operators, backward, made)
    for row, thread, sequence in zip(
        backward.tolist(),
        operators.forward_thread[backward].tolist(),
        operators.sequence[backward].tolist(),
        strict=True,
    ):
        forward[row] = made.get((thread_of.get(thread), sequence), ABSENT)
    outer, inner = np.flatnonzero(numbered), np.flatnonzero(~numbered)
    within = enclosing(operators.rows(outer), operators.rows(inner))
    forward[inner] = _take(forward[outer], within)
    return forward


_Thread = tuple[int, int]  # process and thread id


def _makers(operators: Operators, rows: Ints) -> dict[tuple[_Thread | None, int], int]:
    """The forward operator that took each sequence number of each thread.

    All operators that run before the next node is made show the number it will get. The last of them makes it
    (kineto draws its arrows by the same rule).
    """
    rows = rows[np.argsort(operators.start_ns[rows], kind="stable")]
    threads = zip(operators.pid[rows].tolist(), operators.tid[rows].tolist(), strict=True)
    return dict(zip(zip(threads, operators.sequence[rows].tolist(), strict=True), rows.tolist(), strict=True))


def _forward_threads(
    operators: Operators, backward: Ints, made: dict[tuple[_Thread | None, int], int]
) -> dict[int, _Thread]:
    """The thread behind each `Fwd thread id`, which is a small number of the profiler's own.

    Each thread counts its sequence from 0, so a number alone may fit several threads. A thread gets the votes of the
    backward operators whose number it had used before they began; the best pairs are taken first, a thread once. Of
    equal ones (replicas of a model) the smaller id gets the thread that began first: so the profiler numbers them.
    """
    began: dict[_Thread, int] = {}
    for (thread, _), row in made.items():
        if thread is not None:
            start = int(operators.start_ns[row])
            began[thread] = min(began.get(thread, start), start)
    start_ns = operators.start_ns
    votes: Counter[tuple[int, _Thread]] = Counter()
    for row in backward.tolist():
        for thread in began:
            maker = made.get((thread, int(operators.sequence[row])))
            if maker is not None and start_ns[maker] < start_ns[row]:
                votes[int(operators.forward_thread[row]), thread] += 1
    found: dict[int, _Thread] = {}
    for (number, thread), _ in sorted(votes.items(), key=lambda vote: (-vote[1], vote[0][0], began[vote[0][1]])):
        if number not in found and thread not in found.values():
            found[number] = thread
    return found


def _take(values: Ints, rows: Ints) -> Ints:
    """values[rows], and ABSENT where the row is."""
    return np.where(rows == ABSENT, ABSENT, np.append(values, ABSENT)[rows])
