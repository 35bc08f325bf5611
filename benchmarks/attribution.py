"""How much of the device's busy time each detector's layers explain: `python -m benchmarks.attribution [DEVICE [OUT]]`.

Profiles each detector in a process of its own and prints one row for each: attributed share, rows, what is modelled,
the profiler's inflation, and how long the whole command took. OUT keeps the run directories, traces included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from tabulate import tabulate

from autotune.detectors.registry import DETECTORS

HEADERS = ("detector", "coverage", "largest gap in sums", "rows", "modelled", "inflation", "command, s")


def main() -> None:
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        rows = list(_rows(device, sys.argv[2] if len(sys.argv) > 2 else folder))
    print(tabulate(rows, HEADERS, tablefmt="github"))


def _rows(device: str, out: str) -> Iterator[tuple[str, ...]]:
    for detector in DETECTORS:
        began_s = time.monotonic()
        command = ["profile", "--model", detector.name, "--device", device, "--out", f"{out}/{detector.name}", "--json"]
        done = subprocess.run([sys.executable, "-m", "autotune", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            yield detector.name, done.stderr.strip()
            continue
        profile = json.loads(done.stdout)
        busy_ms = profile["busy_ms"]
        gap = abs(sum(layer["time_ms"] for layer in profile["layers"]) - busy_ms) / busy_ms
        modelled = 1.0 - sum(each["time_ms"] for each in profile["unmodelled"]) / busy_ms
        print(detector.name, profile["coverage"], file=sys.stderr)
        yield (
            detector.name,
            f"{profile['coverage']:.4%}",
            f"{gap:.0e}",
            str(len(profile["layers"])),
            f"{modelled:.1%}",
            f"{profile['inflation']:.2f}x",
            f"{time.monotonic() - began_s:.0f}",
        )


if __name__ == "__main__":
    main()
