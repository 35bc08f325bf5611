"""How long an exported trace takes to read, and the memory it takes, beside HolisticTraceAnalysis where it is given.

Run by hand: python -m benchmarks.trace_reading TRACE.json.gz [--million] [--hta PYTHON] [--rounds 5]. HTA lives in an
environment of its own, whose interpreter is named: it is no dependency. Each reading is a whole process, and the
readers take turns, so that what else the machine does meets them alike. --million reads a larger trace, which repeats
the events of the given one, later and under other ids, until it holds a million.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

EVENTS = 1_000_000
# VmHWM and not ru_maxrss: that one begins at the peak of the process that started this one.
_MEASURED = """
import re, sys, time
from pathlib import Path
{imports}
imported_s = time.perf_counter()
{work}
reading_s = time.perf_counter() - imported_s
peak_kib = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(reading_s, int(peak_kib) * 1024)
"""


@dataclass(frozen=True)
class Reader:
    name: str
    python: str
    imports: str
    work: str


@dataclass(frozen=True)
class Reading:
    """One process. process_s is its wall time from start to exit, reading_s that without interpreter and imports."""

    process_s: float
    reading_s: float
    peak_bytes: float


_READ = Reader(
    "`read_trace`", sys.executable, "from autotune.probes.traces import read_trace", "read_trace(sys.argv[1])"
)
_READ_AND_LINK = Reader(
    "`read_trace`, `link`, `steps_of`",
    sys.executable,
    "from autotune.probes.traces import link, read_trace, steps_of",
    "trace = read_trace(sys.argv[1]); steps_of(trace, link(trace))",
)


def hta(python: str) -> Reader:
    """HTA's parsing alone: it links launches to kernels, backward to forward operators, and events to steps as well."""
    return Reader(
        "HolisticTraceAnalysis",
        python,
        "from hta.common.trace import Trace",
        "Trace(trace_files={0: sys.argv[1]}, trace_dir='').parse_traces(use_multiprocessing=False)",
    )


_IDS = ("External id", "correlation", "Sequence number")


def enlarge(source: Path, target: Path) -> int:
    """Write the events of source to target until they are a million; returns how many they are."""
    with gzip.open(source, "rt") as file:
        content = json.load(file, parse_float=Decimal)
    events = content.pop("traceEvents")
    times = [event["ts"] for event in events if event.get("ph") == "X"]
    length_us = max(times) - min(times) + 1_000_000
    last_id = max(event["args"].get(name, 0) for event in events if "args" in event for name in _IDS) + 1
    encode = msgspec.json.Encoder(decimal_format="number").encode
    written = 0
    with gzip.open(target, "wb", compresslevel=1) as file:
        file.write(encode(content)[:-1] + b', "traceEvents": [')
        for copy in range(-(-EVENTS // len(events))):
            for event in events[: EVENTS - written]:
                file.write((b",\n" if written else b"\n") + encode(_later(event, copy, length_us, last_id)))
                written += 1
        file.write(b"]}")
    return written


def _later(event: dict[str, Any], copy: int, length_us: Decimal, last_id: int) -> dict[str, Any]:
    moved = event | {"ts": event["ts"] + copy * length_us}
    if event.get("cat") in ("ac2g", "fwdbwd"):
        moved["id"] = event["id"] + copy * last_id
    if "args" in event:
        moved["args"] = event["args"] | {
            name: event["args"][name] + copy * last_id for name in _IDS if name in event["args"]
        }
    return moved


def measure(reader: Reader, path: Path) -> Reading:
    code = _MEASURED.format(imports=reader.imports, work=reader.work)
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    began_s = time.perf_counter()
    said = subprocess.run(
        [reader.python, "-c", code, str(path)], check=True, capture_output=True, text=True, env=elsewhere
    ).stdout
    process_s = time.perf_counter() - began_s
    reading_s, peak_bytes = map(float, said.split()[-2:])
    return Reading(process_s, reading_s, peak_bytes)


def spread(samples: list[float], unit: str) -> str:
    return f"{median(samples):.2f}{unit} ({min(samples):.2f} to {max(samples):.2f})"


def compare(readers: list[Reader], path: Path, rounds: int) -> None:
    """Print a table of the readers, and beside HTA how many times faster each of ours is, round by round."""
    for reader in readers:
        measure(reader, path)  # compiles the modules, fills the page cache
    measured: dict[str, list[Reading]] = {reader.name: [] for reader in readers}
    for _ in range(rounds):
        for reader in readers:
            measured[reader.name].append(measure(reader, path))
    print("| what | whole process | without imports | peak memory |\n|---|---|---|---|")
    for name, readings in measured.items():
        process, reading = ([getattr(each, column) for each in readings] for column in ("process_s", "reading_s"))
        peak_gb = max(each.peak_bytes for each in readings) / 1e9
        print(f"| {name} | {spread(process, ' s')} | {spread(reading, ' s')} | {peak_gb:.2f} GB |")
    *own, last = readers
    for reader in own if last.python != sys.executable else ():
        pairs = list(zip(measured[reader.name], measured[last.name], strict=True))
        whole = [other.process_s / ours.process_s for ours, other in pairs]
        alone = [other.reading_s / ours.reading_s for ours, other in pairs]
        print(f"{last.name} / {reader.name}: {spread(whole, 'x')} whole, {spread(alone, 'x')} without imports")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("trace", type=Path)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--hta", metavar="PYTHON", help="interpreter of an environment with HolisticTraceAnalysis")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    readers = [_READ, _READ_AND_LINK, *([hta(arguments.hta)] if arguments.hta else [])]
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.trace
        if arguments.million:
            path = Path(folder) / "large.json.gz"
            print(f"{enlarge(arguments.trace, path):,} events, {path.stat().st_size / 1e6:.0f} MB as gzip")
        compare(readers, path, arguments.rounds)


if __name__ == "__main__":
    main()
