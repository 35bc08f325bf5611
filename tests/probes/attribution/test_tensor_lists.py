"""Operators on more tensors than the profiler writes down: what autotune recorded prices them, nothing else does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autotune.probes.analysis import profile_of_trace
from autotune.probes.attribution import TensorLists, costs_of, places_of
from autotune.probes.costs import Cost
from autotune.probes.recording import METADATA, record
from autotune.probes.traces import link, read_trace
from autotune.profile_record import Bound, Ceiling, CeilingKind, Ceilings, Layer, Phase, Profile
from autotune.ranges import LOSS, UPDATE, layer_range, opened
from exported import annotation, kernel, launch, operator, save

# Twice as many tensors as torch.profiler writes the shapes of, and more.
LAYERS, WIDTH = 35, 16
TENSORS, ELEMENTS = 2 * LAYERS, LAYERS * (WIDTH * WIDTH + WIDTH)
FLOAT = 4
COPY = Ceilings(ceilings=(Ceiling(kind=CeilingKind.COPY, samples=(1e12,)),))


def _recorded(path: Path, step: Callable[[], object], model: nn.Module | None = None) -> Path:
    record(lambda number: step(), [0, 1], model or nn.Identity(), torch.device("cpu"), path, {"model": "wide"})
    return path


def _updates(path: Path, **options: Any) -> Path:
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))
    optimizer = torch.optim.AdamW(model.parameters(), **options)

    def step() -> None:
        model(torch.ones(2, WIDTH)).sum().backward()
        with opened(UPDATE):
            optimizer.step()
            optimizer.zero_grad()

    step()  # the optimizer's state is made in its first
    return _recorded(path, step, model)


def _spoken_for(path: Path) -> dict[str, list[Cost]]:
    """The costs of the outermost operators that have one, by name."""
    trace = read_trace(path)
    lists = TensorLists.of(json.loads(trace.recorded)["tensor_lists"])
    found: dict[str, list[Cost]] = {}
    for row, cost in costs_of(trace, places_of(trace, link(trace)).parent, lists).by_operator.items():
        found.setdefault(trace.names[trace.operators.name[row]], []).append(cost)
    return found


def _row(profile: Profile, layer: str, phase: Phase) -> Layer:
    return next(row for row in profile.layers if (row.layer, row.phase) == (layer, phase))


def test_a_foreach_update_of_many_tensors_costs_what_its_arithmetic_says(tmp_path: Path) -> None:
    path = _updates(tmp_path / "trace.json", foreach=True)
    written = json.loads(path.read_text())["traceEvents"]
    dims = [event["args"]["Input Dims"] for event in written if event["name"] == "aten::_foreach_addcdiv_"]
    assert dims == 2 * [[[], [], [], []]], "this torch writes long lists: what was recorded beside them is not tested"
    row = _row(profile_of_trace(path), "(optimizer)", Phase.OPTIMIZER)
    # An element: decay 1, first moment 3 (lerp), second 1 and 3 (addcmul), root 1, correction 1, epsilon 1, update 3.
    assert row.flops == 14 * ELEMENTS + TENSORS
    # Read and written: decay 2, lerp 3, mul 2, addcmul 4, root 2, correction 2, epsilon 2, addcdiv 4. The step counts:
    # once read and written, and read twice by the host, which keeps what it read.
    assert row.bytes == FLOAT * (21 * ELEMENTS + 2 * TENSORS + 2 * 2 * TENSORS)


def test_the_lists_themselves_speak_for_a_foreach_update_and_not_the_loops_within(tmp_path: Path) -> None:
    """On a GPU there are none: whoever prices the loops prices nothing there."""
    spoken = _spoken_for(_updates(tmp_path / "trace.json", foreach=True))
    addcdiv = spoken["aten::_foreach_addcdiv_"]
    assert [(cost.flops, cost.bytes) for cost in addcdiv] == 2 * [(3 * ELEMENTS, 4 * FLOAT * ELEMENTS)]
    assert not {"aten::addcdiv_", "aten::addcmul_", "aten::lerp_", "aten::sqrt"} & spoken.keys()


def test_a_fused_update_of_many_tensors_reads_four_lists_and_writes_three(tmp_path: Path) -> None:
    path = _updates(tmp_path / "trace.json", fused=True)
    (first, second) = _spoken_for(path)["aten::_fused_adamw_"]
    assert first == second
    assert first.bytes == 7 * FLOAT * ELEMENTS
    row = _row(profile_of_trace(path), "(optimizer)", Phase.OPTIMIZER)
    assert row.flops >= first.flops == 14 * ELEMENTS
    assert "aten::_fused_adamw_" not in {each.operator for each in profile_of_trace(path).unmodelled}


@pytest.mark.parametrize("count", [4, 40])
@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.bfloat16, 2), (torch.float16, 2), (torch.float32, 4), (torch.int64, 8), (torch.bool, 1)]
)
def test_tensors_that_are_joined_count_by_their_own_type(
    tmp_path: Path, count: int, dtype: torch.dtype, size: int
) -> None:
    members = [torch.ones(3, 5, dtype=dtype) for _ in range(count)]

    def step() -> None:
        with layer_range(LOSS):
            torch.cat(members)

    row = _row(profile_of_trace(_recorded(tmp_path / "trace.json", step)), LOSS, Phase.FORWARD)
    assert row.bytes == 2 * count * 15 * size
    assert row.modelled > 0.9


def test_equal_calls_share_one_list(tmp_path: Path) -> None:
    """A trace holds thousands of updates: each distinct list stands in it once."""
    path = _updates(tmp_path / "trace.json", foreach=True)
    kept = json.loads(path.read_text())[METADATA]["tensor_lists"]
    uses = Counter(kept["calls"].values())
    assert len({json.dumps(each, sort_keys=True) for each in kept["lists"]}) == len(kept["lists"])
    assert len(kept["lists"]) < len(kept["calls"]) / 2
    assert set(uses) == set(range(len(kept["lists"])))


def _of_another(tmp_path: Path, name: str, inputs: list[tuple[list[int], str, str]], **more: Any) -> Path:
    call = operator(name, 11, 4, inputs=inputs)
    call["args"]["External id"] = 7
    events = [annotation("ProfilerStep#0", 0, 100), annotation("layer:(optimizer)", 5, 20), call]
    return save(tmp_path / "trace.json", *events, launch(12, 1), kernel(20, 30, 1), **more)


LONG = [
    ("aten::_foreach_mul_", [([], "TensorList", ""), ([], "Scalar", "0.9")]),
    ("aten::_foreach_addcdiv_", [([], "TensorList", ""), ([], "TensorList", ""), ([], "TensorList", "")]),
    ("aten::_fused_adamw_", [([], "TensorList", "")] * 6),
    ("aten::cat", [([], "TensorList", ""), ([], "Scalar", "0")]),
    ("aten::stack", [([], "TensorList", ""), ([], "Scalar", "0")]),
]


@pytest.mark.parametrize(("name", "inputs"), LONG, ids=[name for name, _ in LONG])
def test_a_long_list_in_a_trace_of_anothers_is_unmodelled_and_costs_not_nothing(
    tmp_path: Path, name: str, inputs: list[tuple[list[int], str, str]]
) -> None:
    profile = profile_of_trace(_of_another(tmp_path, name, inputs), ceilings=COPY)
    (row,) = profile.layers
    assert [(each.operator, each.time_ms) for each in profile.unmodelled] == [(name, 0.030)]
    assert (row.modelled, row.bound) == (0.0, Bound.UNMODELLED)


def test_the_same_list_recorded_by_autotune_is_priced_by_the_operators_number(tmp_path: Path) -> None:
    lists = {"calls": {"7": 0}, "lists": [{"0": [[[1000], "c10::BFloat16"]] * 1000}]}
    path = _of_another(tmp_path, *LONG[0], **{METADATA: {"tensor_lists": lists}})
    profile = profile_of_trace(path, ceilings=COPY)
    (row,) = profile.layers
    assert (row.flops, row.bytes) == (1e6, 4e6)
    assert (row.modelled, profile.unmodelled) == (1.0, ())
