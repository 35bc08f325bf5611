"""What autotune wrote into a trace beside its events, where it is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.errors import TraceError
from autotune.probes.analysis import profile_of_trace
from autotune.probes.recording import METADATA
from exported import annotation, operator, save


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"model": 7}, "model: "),
        ({"modules": {"head": None}}, "modules.head: "),
        ({"modules": ["head"]}, "modules: "),
        ({"step_samples_ms": [1.0, "soon"]}, "step_samples_ms.1: "),
        ({"step_samples_ms": [0.0]}, "step_samples_ms.0: "),
        ({"step_samples_ms": ["1e999"]}, "step_samples_ms.0: "),
        ({"config": {"batch_size": 0}}, "config.batch_size: "),
        ({"ceilings": {"ceilings": [{"kind": "copy", "samples": ["1e999"]}]}}, "ceilings.ceilings.0.samples.0: "),
        ({"tensor_lists": {"calls": {"7": 3}, "lists": []}}, "tensor_lists: "),
        ({"tensor_lists": []}, ""),
    ],
)
def test_what_is_damaged_in_it_is_one_sentence_that_names_the_field(
    tmp_path: Path, facts: dict[str, Any], field: str
) -> None:
    events = [annotation("ProfilerStep#0", 0, 100), annotation("layer:head", 5, 20), operator("aten::mul", 11, 4)]
    path = save(tmp_path / "trace.json", *events, **{METADATA: facts})
    path.write_text(path.read_text().replace('"1e999"', "1e999"))  # JSON has no other infinity
    with pytest.raises(TraceError) as caught:
        profile_of_trace(path)
    assert f"what autotune wrote into it cannot be read ({field}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
