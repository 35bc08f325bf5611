"""A trace file as lists of typed events, a chunk at a time, so that memory follows the events kept and not the file."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from decimal import Decimal
from io import BufferedIOBase
from pathlib import Path
from typing import Annotated, Any

from msgspec import DecodeError, Meta, Raw, Struct, ValidationError, field
from msgspec.json import Decoder

from autotune.errors import TraceError

__all__ = ["Arguments", "DeviceProperties", "Document", "Event", "documents"]

_CHUNK_BYTES = 8 << 20
_GZIP = b"\x1f\x8b"
_EVENTS = re.compile(rb'"traceEvents"\s*:\s*\[')
_SEAM = re.compile(rb"\}\s*,\s*(?=\{)")
_SEAMS_TRIED = 4


# What fits a column: a larger number is no id.
_Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_ABSENT_JSON = Raw(b"")


class Arguments(Struct, gc=False, frozen=True):
    external_id: _Number | None = field(name="External id", default=None)
    sequence: _Number | None = field(name="Sequence number", default=None)
    forward_thread: _Number | None = field(name="Fwd thread id", default=None)
    correlation: _Number | None = None
    # Operators carry arguments of these names too (Inductor's do), as text even: only a device event's are numbers.
    device: Any = None
    stream: Any = None
    grid: Any = None
    block: Any = None
    registers: Any = field(name="registers per thread", default=None)
    shared_memory_bytes: Any = field(name="shared memory", default=None)
    moved_bytes: Any = field(name="bytes", default=None)
    # Few of the shapes differ: kept as they stand in the file, they need decoding once each and not once an operator.
    dims: Raw = field(name="Input Dims", default=_ABSENT_JSON)
    old_dims: Raw = field(name="Input dims", default=_ABSENT_JSON)  # as older profilers wrote it
    types: Raw = field(name="Input type", default=_ABSENT_JSON)
    concrete: Raw = field(name="Concrete Inputs", default=_ABSENT_JSON)


_NO_ARGUMENTS = Arguments()


class Event(Struct, gc=False, frozen=True):
    """One event of the Chrome format. ts and dur are microseconds, read as decimals to lose no digit."""

    ph: str = ""
    cat: str = ""
    name: str = ""
    pid: _Number | str = 0
    tid: _Number | str = 0
    ts: Decimal = Decimal(0)
    dur: Decimal = Decimal(0)
    args: Arguments = _NO_ARGUMENTS


class DeviceProperties(Struct, frozen=True):
    """What the profiler wrote of one GPU."""

    id: int
    name: str
    multiprocessors: int | None = field(name="numSms", default=None)
    compute_major: int | None = field(name="computeMajor", default=None)
    compute_minor: int | None = field(name="computeMinor", default=None)
    memory_bytes: int | None = field(name="totalGlobalMem", default=None)
    threads_per_multiprocessor: int | None = field(name="maxThreadsPerMultiprocessor", default=None)
    registers_per_multiprocessor: int | None = field(name="regsPerMultiprocessor", default=None)
    shared_memory_per_multiprocessor_bytes: int | None = field(name="sharedMemPerMultiprocessor", default=None)


class Document(Struct, frozen=True):
    """A part of the file: some of its events, or what stands before or after them.

    recorded: what autotune itself wrote into the trace it recorded, as JSON. A Raw keeps the whole part in memory: copy
    what is to stay.
    """

    events: list[Event] | None = field(name="traceEvents", default=None)
    schema_version: int | None = field(name="schemaVersion", default=None)
    devices: list[DeviceProperties] | None = field(name="deviceProperties", default=None)
    recorded: Raw = field(name="autotune", default=_ABSENT_JSON)


_DOCUMENT = Decoder(Document)
_EVENT_LIST = Decoder(list[Event])


def documents(path: Path) -> Iterator[Document]:
    """The parts of a trace file, plain or gzip, in order. Raises TraceError with one sentence where it is none."""
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == _GZIP
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if compressed else raw as file:
                yield from _parts(file)
    except ValidationError as error:
        raise TraceError(f"{path}: not a trace of torch.profiler: {error}; export it by export_chrome_trace") from None
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise TraceError(f"{path}: cut short or damaged; copy it whole, or export it again") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TraceError(
            f"{path}: a gzip file cut short or damaged ({error}); copy it whole or export it again"
        ) from None
    except OSError as error:
        raise TraceError(
            f"{path}: cannot be read ({error.strerror}); give a trace that torch.profiler exported"
        ) from None
    except _NotATraceError as error:
        raise TraceError(f"{path}: {error}; give a trace that torch.profiler exported") from None


class _NotATraceError(Exception):
    pass


def _parts(file: BufferedIOBase) -> Iterator[Document]:
    head, text = _until_events(file)
    yield _DOCUMENT.decode(head + b"]}")
    wanted = _CHUNK_BYTES
    while True:
        more = file.read(wanted)
        if not more:
            break
        text += more
        events, used = _whole_events(text)
        if used:
            yield Document(events=events)
            text = text[used:]
            wanted = _CHUNK_BYTES
        else:
            wanted = len(text)  # nothing could be cut off: what follows the events is long, or one event is
    # The end of the array closes a document of its own, with all that follows it.
    yield _DOCUMENT.decode(b'{"traceEvents":[' + text)


def _until_events(file: BufferedIOBase) -> tuple[bytes, bytes]:
    """The file's beginning up to and with the bracket that opens the events; and what was read beyond."""
    text = b""
    while more := file.read(_CHUNK_BYTES):
        searched = max(0, len(text) - 64)
        text += more
        if text.lstrip()[:1] not in (b"{", b"["):
            raise _NotATraceError("not JSON")
        if found := _EVENTS.search(text, searched):
            return text[: found.end()], text[found.end() :]
    if not text.strip():
        raise _NotATraceError("empty")
    if text.lstrip()[:1] == b"{":
        _DOCUMENT.decode(text)
    raise _NotATraceError("of another tool: it has no traceEvents")


def _whole_events(text: bytes) -> tuple[list[Event], int]:
    """The events that end in text, and how many bytes they take, the comma after them included.

    Text is cut where one object ends and the next begins. That may be inside an event, or inside a string; but then
    what stands before the cut is no JSON, and an earlier cut is tried. What decodes was cut between two events.
    """
    searched = max(0, len(text) - (1 << 16))
    for seam in reversed(list(_SEAM.finditer(text, searched))[-_SEAMS_TRIED:]):
        try:
            return _EVENT_LIST.decode(b"[" + text[: seam.start() + 1] + b"]"), seam.end()
        except ValidationError:
            raise
        except DecodeError:
            continue
    return [], 0
