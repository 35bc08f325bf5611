"""An open-vocabulary detector's inference on an H100, bf16: what its kernels took beside the least they could take."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autotune.probes.costs import Arithmetic, Cost, cost_of, parse_call

# The datasheet's (SXM5): dense bf16, FP32 outside the tensor cores, bytes.
BF16_FLOPS, FP32_FLOPS, BANDWIDTH_BYTES, CACHE_BYTES = 989.4e12, 66.9e12, 3.35e12, 50e6


@dataclass
class Operator:
    name: str
    cost: Cost | None
    device_s: float = 0.0

    @property
    def over_time(self) -> float:
        """The least time over the time it took."""
        assert self.cost is not None
        tensor_cores = self.cost.arithmetic is not Arithmetic.VECTOR and self.cost.dtype == "c10::BFloat16"
        peak = BF16_FLOPS if tensor_cores else FP32_FLOPS
        return max(self.cost.flops / peak, self.cost.bytes / BANDWIDTH_BYTES) / self.device_s


@pytest.fixture(scope="module")
def operators(traces: Path) -> list[Operator]:
    """Those that ran kernels: the outermost that has a cost, or the one that launched them."""
    with gzip.open(traces / "h100_owlv2_inference.json.gz") as file:
        events = json.load(file)["traceEvents"]
    owners = dict(_owners([event for event in events if event.get("cat") == "cpu_op" and event.get("ph") == "X"]))
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            owners[event["args"]["External id"]].device_s += event["dur"] / 1e6
    return list({id(owner): owner for owner in owners.values() if owner.device_s > 0}.values())


def _owners(events: list[dict[str, Any]]) -> Iterator[tuple[int, Operator]]:
    stack: list[tuple[int, float, Operator]] = []
    for event in sorted(events, key=lambda event: (event["tid"], event["ts"], -event["dur"])):
        while stack and (stack[-1][0] != event["tid"] or stack[-1][1] <= event["ts"]):
            stack.pop()
        if stack and stack[-1][2].cost is not None:
            owner = stack[-1][2]
        else:
            columns = (event["args"].get(key) for key in ("Input Dims", "Input type", "Concrete Inputs"))
            recorded = (b"" if column is None else json.dumps(column).encode() for column in columns)
            owner = Operator(event["name"], cost_of(parse_call(event["name"], *recorded)))
        stack.append((event["tid"], event["ts"] + event["dur"], owner))
        yield event["args"]["External id"], owner


def test_all_but_a_ten_thousandth_of_the_devices_time_has_a_cost(operators):
    without = [operator for operator in operators if operator.cost is None]
    assert {operator.name for operator in without} == {"aten::index"}
    share = sum(operator.device_s for operator in without) / sum(operator.device_s for operator in operators)
    assert share < 1e-4


def test_nothing_ran_faster_than_its_floor_but_for_what_fits_into_the_cache(operators):
    costed = [(operator, operator.cost) for operator in operators if operator.cost is not None]
    assert len(costed) > 3000
    assert max(operator.over_time for operator, cost in costed if cost.bytes > CACHE_BYTES) < 1.0
    assert max(operator.over_time for operator, _ in costed) < 1.15


def test_elementwise_operators_come_near_the_bandwidth(operators):
    """The bytes are not far too few either."""
    large = [
        operator
        for operator in operators
        if operator.cost is not None and operator.name == "aten::mul" and operator.cost.bytes > CACHE_BYTES
    ]
    assert len(large) > 100
    assert all(0.7 < operator.over_time < 1.0 for operator in large)
