"""Recordings onto a disk that takes no more. A limit on the size of files stands for the disk: torch and Python meet
it as they meet a full one."""

from __future__ import annotations

import gzip
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autotune.errors import TraceError
from autotune.probes.recording import METADATA, record

CPU = torch.device("cpu")
# Does not shrink in gzip, so that what is written in the end is larger than what torch has written.
LONG = {"noise": torch.randint(1 << 60, (40_000,), generator=torch.Generator().manual_seed(0)).tolist()}


@contextmanager
def _files_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _record(path: Path, facts: dict[str, Any]) -> None:
    model = nn.Linear(4, 4)
    record(lambda number: model(torch.ones(2, 4)), [0, 1], model, CPU, path, facts)


@pytest.mark.parametrize(
    ("size", "facts", "reason"),
    [(4096, {}, "did not write the whole trace"), (200_000, LONG, r"cannot be written \(File too large\)")],
    ids=["torch's own file", "the packed file"],
)
@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_a_trace_that_the_disk_cuts_short_is_an_error_and_the_older_one_stays(
    tmp_path: Path, name: str, size: int, facts: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "here" / name
    path.parent.mkdir()
    path.write_bytes(b"older")
    with _files_at_most(size), pytest.raises(TraceError, match=reason) as caught:
        _record(path, facts)
    assert str(path) in str(caught.value)
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == b"older"


def test_a_trace_that_lacks_its_last_bytes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = torch.profiler.profile.export_chrome_trace

    def cut_short(profiler: torch.profiler.profile, path: str) -> None:
        export(profiler, path)
        os.truncate(path, Path(path).stat().st_size - 30)

    monkeypatch.setattr(torch.profiler.profile, "export_chrome_trace", cut_short)
    (tmp_path / "here").mkdir()
    with pytest.raises(TraceError, match="did not write the whole trace"):
        _record(tmp_path / "here" / "trace.json.gz", {})
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_a_trace_that_the_disk_takes_replaces_the_older_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / "here" / name
    path.parent.mkdir()
    path.write_bytes(b"older")
    _record(path, LONG)
    content = json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    assert content[METADATA]["noise"] == LONG["noise"]
    assert "layer:(model)" in {event.get("name") for event in content["traceEvents"]}
    assert list(path.parent.iterdir()) == [path]
