"""A trace as columns: one frozen table for each kind of event, rows in the order of the file.

Times are whole nanoseconds: a float64 of microseconds since 1970 is only good to 0.25 us, which is enough to put a
launch outside its operator. Names are codes into `Trace.names`. An absent number is ABSENT.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from autotune.errors import TraceError
from autotune.probes.traces.stream import DeviceProperties

__all__ = [
    "ABSENT",
    "DeviceEvents",
    "DeviceKind",
    "Flags",
    "Ints",
    "Launches",
    "Operators",
    "Signature",
    "Spans",
    "Trace",
]

ABSENT = -1

Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]


class DeviceKind(IntEnum):
    KERNEL = 0
    MEMCPY = 1
    MEMSET = 2


class Signature(NamedTuple):
    """What an operator was called with, as the JSON that the profiler wrote; b"" where it wrote none.

    One entry for each input. dims: `[[16, 3, 320, 320], []]`; types: `["float", "Scalar"]`; concrete: the values of
    what is no tensor, as text: `["", "[2, 2]"]`.
    """

    dims: bytes
    types: bytes
    concrete: bytes


@dataclass(frozen=True, eq=False)
class Spans:
    """Ranges on the host's threads: what record_function and the profiler's steps open.

    external_id: the profiler's own number of an operator; a launch and its kernels carry that of their operator.
    """

    name: Ints
    start_ns: Ints
    duration_ns: Ints
    pid: Ints
    tid: Ints
    external_id: Ints

    def __len__(self) -> int:
        return len(self.name)

    @property
    def end_ns(self) -> Ints:
        return self.start_ns + self.duration_ns

    def rows(self, rows: Ints) -> Spans:
        """These rows, as ranges alone."""
        return Spans(**{column.name: getattr(self, column.name)[rows] for column in fields(Spans)})


@dataclass(frozen=True, eq=False)
class Operators(Spans):
    """Operators (`aten::convolution`) and autograd's nodes (`ConvolutionBackward0`).

    sequence: autograd's number, counted per forward thread. forward_thread: 0 for a forward operator, for a backward
    one the profiler's small number of the thread whose sequence it is. signature: a code into `Trace.signatures`;
    ABSENT where shapes were not recorded.
    """

    sequence: Ints
    forward_thread: Ints
    signature: Ints


@dataclass(frozen=True, eq=False)
class Launches(Spans):
    """Calls of the CUDA runtime and driver, whether they launch anything or not."""

    correlation: Ints


@dataclass(frozen=True, eq=False)
class DeviceEvents(Spans):
    """What ran on a device.

    grid and block: (events, 3). They, registers (per thread) and shared_memory_bytes (per block) are ABSENT for copies
    and fills, moved_bytes for kernels.
    """

    kind: Ints
    correlation: Ints
    device: Ints
    stream: Ints
    registers: Ints
    shared_memory_bytes: Ints
    moved_bytes: Ints
    grid: Ints
    block: Ints


@dataclass(frozen=True, eq=False)
class Trace:
    """An exported trace.

    devices: what the profiler wrote of each GPU; empty for a CPU trace. recorded: the JSON that autotune wrote into a
    trace of its own, under the key "autotune"; b"" in any other.
    """

    path: Path
    schema_version: int | None
    devices: tuple[DeviceProperties, ...]
    recorded: bytes
    names: tuple[str, ...]
    signatures: tuple[Signature, ...]
    operators: Operators
    annotations: Spans
    launches: Launches
    device_events: DeviceEvents

    @property
    def has_device_events(self) -> bool:
        """False for a trace of the CPU alone: it has operators, but nothing that ran on a device."""
        return len(self.device_events) > 0

    def require_device_events(self) -> None:
        """Raises TraceError for a trace of the CPU alone."""
        if not self.has_device_events:
            raise TraceError(f"{self.path}: nothing in it ran on a GPU; record with ProfilerActivity.CPU and CUDA")

    def starts_with(self, spans: Spans, prefix: str) -> Flags:
        """Which rows of spans have a name that starts with prefix."""
        matches = np.fromiter((name.startswith(prefix) for name in self.names), dtype=bool, count=len(self.names))
        return matches[spans.name]
