"""From a trace file to its columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from autotune.errors import TraceError
from autotune.probes.traces.events import (
    ABSENT,
    DeviceEvents,
    DeviceKind,
    Ints,
    Launches,
    Operators,
    Signature,
    Spans,
    Trace,
)
from autotune.probes.traces.stream import Arguments, DeviceProperties, Event, documents

__all__ = ["read_trace"]

_OPERATORS, _ANNOTATIONS, _LAUNCHES, _DEVICE = "operators", "annotations", "launches", "device"
_TABLES = {
    "cpu_op": _OPERATORS,
    "user_annotation": _ANNOTATIONS,
    "cuda_runtime": _LAUNCHES,
    "cuda_driver": _LAUNCHES,
    "kernel": _DEVICE,
    "gpu_memcpy": _DEVICE,
    "gpu_memset": _DEVICE,
}
_KINDS = {"kernel": DeviceKind.KERNEL, "gpu_memcpy": DeviceKind.MEMCPY, "gpu_memset": DeviceKind.MEMSET}
_THREE_ABSENT = (ABSENT, ABSENT, ABSENT)
_DEVICE_NUMBERS = ("device", "stream", "registers", "shared_memory_bytes", "moved_bytes")
_NO_SIGNATURE = (b"", b"", b"")


def read_trace(path: str | Path) -> Trace:
    """Read a trace that torch.profiler exported as Chrome JSON, plain or gzip.

    Raises TraceError for a file that is none, is cut short, or has neither operators nor device events.
    """
    path = Path(path)
    columns = _Columns()
    recorded = b""
    schema_version: int | None = None
    devices: tuple[DeviceProperties, ...] = ()
    for document in documents(path):
        try:
            columns.add(document.events or ())
        except (ArithmeticError, ValueError):  # "NaN" and 1e400 are decimals, and no nanoseconds
            raise TraceError(
                f"{path}: an event's time is no time since 1970; give a trace that torch.profiler exported"
            ) from None
        schema_version = document.schema_version if document.schema_version is not None else schema_version
        devices = tuple(document.devices) if document.devices else devices
        recorded = bytes(document.recorded) or recorded
    trace = Trace(
        path=path,
        schema_version=schema_version,
        devices=devices,
        recorded=recorded,
        names=tuple(columns.names),
        signatures=tuple(map(Signature._make, columns.signatures)),
        operators=Operators(
            **columns.spans(_OPERATORS),
            **columns.numbers(_OPERATORS, "sequence", "forward_thread", "signature"),
        ),
        annotations=Spans(**columns.spans(_ANNOTATIONS)),
        launches=Launches(**columns.spans(_LAUNCHES), **columns.numbers(_LAUNCHES, "correlation")),
        device_events=DeviceEvents(
            **columns.spans(_DEVICE),
            **columns.numbers(_DEVICE, "kind", "correlation", *_DEVICE_NUMBERS),
            grid=columns.column(_DEVICE, "grid").reshape(-1, 3),
            block=columns.column(_DEVICE, "block").reshape(-1, 3),
        ),
    )
    if not len(trace.operators) and not trace.has_device_events:
        raise TraceError(f"{path}: no operators and no kernels in it; give a trace that torch.profiler exported")
    return trace


class _Columns:
    """Columns that grow by the chunk: an array for each chunk, so that no event outlives its chunk."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.signatures: dict[tuple[bytes, bytes, bytes], int] = {}
        self._pieces: dict[tuple[str, str], list[Ints]] = defaultdict(list)

    def add(self, events: Iterable[Event]) -> None:
        rows: dict[str, list[Event]] = {table: [] for table in set(_TABLES.values())}
        for event in events:
            if event.ph == "X" and (table := _TABLES.get(event.cat)):
                rows[table].append(event)
        for table, kept in rows.items():
            self._add_spans(table, kept)
        self._add_arguments(_OPERATORS, rows[_OPERATORS], "sequence", "forward_thread")
        self._add_arguments(_LAUNCHES, rows[_LAUNCHES], "correlation")
        self._add_arguments(_DEVICE, rows[_DEVICE], "correlation")
        self._append(_OPERATORS, "signature", [self._signature(event.args) for event in rows[_OPERATORS]])
        for column in _DEVICE_NUMBERS:
            self._append(_DEVICE, column, [_number(getattr(event.args, column)) for event in rows[_DEVICE]])
        self._append(_DEVICE, "kind", [_KINDS[event.cat] for event in rows[_DEVICE]])
        self._append(_DEVICE, "grid", [size for event in rows[_DEVICE] for size in _sizes(event.args.grid)])
        self._append(_DEVICE, "block", [size for event in rows[_DEVICE] for size in _sizes(event.args.block)])

    def spans(self, table: str) -> dict[str, Ints]:
        return self.numbers(table, "name", "start_ns", "duration_ns", "pid", "tid", "external_id")

    def numbers(self, table: str, *columns: str) -> dict[str, Ints]:
        return {column: self.column(table, column) for column in columns}

    def column(self, table: str, column: str) -> Ints:
        return np.concatenate(self._pieces.pop((table, column)))

    def _signature(self, called: Arguments) -> int:
        signature = (bytes(called.dims) or bytes(called.old_dims), bytes(called.types), bytes(called.concrete))
        return ABSENT if signature == _NO_SIGNATURE else self.signatures.setdefault(signature, len(self.signatures))

    def _add_spans(self, table: str, events: list[Event]) -> None:
        names = self.names
        self._append(table, "name", [names.setdefault(event.name, len(names)) for event in events])
        self._append(table, "start_ns", [_ns(event.ts) for event in events])
        self._append(table, "duration_ns", [_ns(event.dur) for event in events])
        self._append(table, "pid", [_number(event.pid) for event in events])
        self._append(table, "tid", [_number(event.tid) for event in events])
        self._add_arguments(table, events, "external_id")

    def _add_arguments(self, table: str, events: list[Event], *columns: str) -> None:
        for column in columns:
            found = [getattr(event.args, column) for event in events]
            self._append(table, column, [ABSENT if value is None else value for value in found])

    def _append(self, table: str, column: str, values: list[int]) -> None:
        self._pieces[table, column].append(np.array(values, dtype=np.int64))


def _ns(microseconds: Decimal) -> int:
    return int(microseconds * 1000)


def _number(value: object) -> int:
    return value if isinstance(value, int) and abs(value) < 2**63 else ABSENT


def _sizes(value: object) -> Sequence[int]:
    return [_number(size) for size in value] if isinstance(value, list) and len(value) == 3 else _THREE_ABSENT
