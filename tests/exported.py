"""Events as torch.profiler exports them, for small traces made by hand. Times are microseconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAIN, AUTOGRAD = 100, 200


def _event(category: str, name: str, start: float, duration: float, tid: int, **arguments: Any) -> dict[str, Any]:
    place = {"ph": "X", "cat": category, "name": name, "pid": 1, "tid": tid}
    return {**place, "ts": start, "dur": duration, "args": arguments}


def operator(
    name: str,
    start: float,
    duration: float,
    *,
    tid: int = MAIN,
    sequence: int | None = None,
    forward_thread: int = 0,
    inputs: Sequence[tuple[Sequence[int], str, str]] | None = None,
    dims_key: str = "Input Dims",
) -> dict[str, Any]:
    """inputs: what record_shapes adds, of each input its sizes, its type, and its value where it is no tensor."""
    numbers: dict[str, Any] = {} if sequence is None else {"Sequence number": sequence, "Fwd thread id": forward_thread}
    if inputs is not None:
        dims, types, concrete = ([entry[place] for entry in inputs] for place in range(3))
        numbers |= {"Concrete Inputs": concrete, "Input type": types, dims_key: dims}
    return _event("cpu_op", name, start, duration, tid, **numbers)


def annotation(name: str, start: float, duration: float, *, tid: int = MAIN) -> dict[str, Any]:
    return _event("user_annotation", name, start, duration, tid)


def launch(
    start: float, correlation: int, *, name: str = "cudaLaunchKernel", tid: int = MAIN, category: str = "cuda_runtime"
) -> dict[str, Any]:
    return _event(category, name, start, 1, tid, correlation=correlation)


def kernel(
    start: float, duration: float, correlation: int, *, name: str = "gemm", category: str = "kernel", stream: int = 7
) -> dict[str, Any]:
    sizes: dict[str, Any] = {"bytes": 4096}
    if category == "kernel":
        sizes = {"grid": [2, 3, 4], "block": [32, 1, 1], "registers per thread": 168, "shared memory": 49152}
    return _event(category, name, start, duration, stream, device=0, stream=stream, correlation=correlation, **sizes)


def save(path: Path, *events: dict[str, Any], **more: Any) -> Path:
    path.write_text(json.dumps({"schemaVersion": 1, "traceEvents": events, **more}), encoding="utf-8")
    return path
