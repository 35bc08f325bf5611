"""How long a trace of one million events takes to read, and the memory it takes, each time in a new process.

Run by hand: python -m benchmarks.trace_reading v100_convnet_training.json.gz [times]. The large trace repeats the
events of the given one, later and under other ids, until it holds a million. Where HolisticTraceAnalysis is installed
it reads the same file in alternation.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

EVENTS = 1_000_000
_MEASURED = """
import resource, sys, time
{imports}
imported_s = time.perf_counter()
{work}
print(time.perf_counter() - imported_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
_READERS = {
    "autotune, read": (
        "from autotune.probes.traces import read_trace",
        "read_trace(sys.argv[1])",
    ),
    "autotune, read, link, steps": (
        "from autotune.probes.traces import link, read_trace, steps_of",
        "trace = read_trace(sys.argv[1]); steps_of(trace, link(trace))",
    ),
}
if importlib.util.find_spec("hta"):
    _READERS["HolisticTraceAnalysis"] = (
        "from hta.common.trace import Trace",
        "trace = Trace(trace_files={0: sys.argv[1]}, trace_dir=''); trace.parse_traces(use_multiprocessing=False)",
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


def measure(reader: str, path: Path) -> tuple[float, float]:
    """Seconds without the imports, and peak resident bytes, of one reader in a process of its own."""
    imports, work = _READERS[reader]
    code = _MEASURED.format(imports=imports, work=work)
    said = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True).stdout
    seconds, peak_bytes = said.split()[-2:]
    return float(seconds), float(peak_bytes)


def main() -> None:
    source, times = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.json.gz"
        print(f"{enlarge(source, path):,} events, {path.stat().st_size / 1e6:.0f} MB as gzip")
        samples: dict[str, list[tuple[float, float]]] = {reader: [] for reader in _READERS}
        for _ in range(times):
            for reader in _READERS:
                samples[reader].append(measure(reader, path))
    for reader, measured in samples.items():
        seconds = [each[0] for each in measured]
        peak_gb = max(each[1] for each in measured) / 1e9
        print(
            f"{reader:<28} {median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), peak {peak_gb:.2f} GB"
        )


if __name__ == "__main__":
    main()
