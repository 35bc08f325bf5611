"""What the tests of the cost model share: an export of torch.profiler, priced operator by operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch.profiler import ProfilerActivity, profile

from autotune.probes.costs import Call, Cost, cost_of, parse_call


@dataclass(frozen=True)
class Priced:
    """costed: the outermost operators that have a cost. unmodelled: what nests nothing and is in no costed operator."""

    costed: list[tuple[Call, Cost]]
    unmodelled: list[Call]


@pytest.fixture(scope="session")
def price(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], object]], Priced]:
    """Run something under the profiler on the CPU, export, and price what the file says."""

    def run(step: Callable[[], object]) -> Priced:
        path = tmp_path_factory.mktemp("trace") / "trace.json"
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
            step()
        profiler.export_chrome_trace(str(path))
        return _priced(path)

    return run


def _priced(path: Path) -> Priced:
    events = json.loads(path.read_text())["traceEvents"]
    operators = [event for event in events if event.get("cat") == "cpu_op" and event.get("ph") == "X"]
    operators.sort(key=lambda event: (event["tid"], event["ts"], -event["dur"]))
    costed: list[tuple[Call, Cost]] = []
    bare: list[tuple[Call, list[str]]] = []
    stack: list[tuple[Any, float, bool, list[str]]] = []  # thread, end, whether costed, what is nested
    for event in operators:
        thread, start, end = event["tid"], event["ts"], event["ts"] + event["dur"]
        while stack and (stack[-1][0] != thread or stack[-1][1] <= start):
            stack.pop()
        nested: list[str] = []
        covered = bool(stack) and stack[-1][2]
        if stack:
            stack[-1][3].append(event["name"])
        if not covered:
            call = _call(event)
            cost = cost_of(call)
            if cost is not None:
                costed.append((call, cost))
                covered = True
            else:
                bare.append((call, nested))
        stack.append((thread, end, covered, nested))
    return Priced(costed, [call for call, nested in bare if not nested])


def _call(event: dict[str, Any]) -> Call:
    columns = (event["args"].get(key) for key in ("Input Dims", "Input type", "Concrete Inputs"))
    return parse_call(event["name"], *(b"" if column is None else json.dumps(column).encode() for column in columns))
