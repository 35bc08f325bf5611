"""What sampling a GPU at 10 Hz costs the host, in CPU time of this process.

Run by hand: python -m benchmarks.nvml_cost [UUID]. With a GPU's UUID the driver is asked; without one, the tests' fake
library, which shows what our own code costs, and not the driver's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from ctypes import CDLL
from pathlib import Path

from autotune.probes.nvml import ALL, STATE, NvmlSampler

SOURCE = Path(__file__).parents[1] / "tests" / "probes" / "fake_nvml.c"
SOUGHT = "libnvidia-ml.so.1"
LASTING_S = 20.0


def play() -> None:
    """Load the fake library, so that pynvml finds one of the name it seeks."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / SOUGHT
        subprocess.run(["cc", "-shared", "-fPIC", f"-Wl,-soname,{SOUGHT}", "-o", library, SOURCE], check=True)
        CDLL(str(library))
    # As on a GPU, a question about PCIe takes 20 ms; four processes use the GPU.
    os.environ |= {"FAKE_SLOW": "1", "FAKE_PIDS": f"{os.getpid()},{os.getppid()},1,2"}


def main() -> None:
    if not sys.argv[1:]:
        play()
    uuid = sys.argv[1] if sys.argv[1:] else "GPU-aaaa"
    for name, queries, every_s in (("all", ALL, 0.1), ("a trial's state", STATE, 0.2)):
        sampler = NvmlSampler(uuid, every_s, queries=queries)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        with sampler:
            time.sleep(LASTING_S)
        share = (time.process_time() - began_cpu_s) / (time.monotonic() - began_s)
        series = sampler.stop()
        missing = ", ".join(gap.field for gap in series.missing) or "nothing"
        print(f"{name}, every {every_s} s: {len(series.samples)} samples, {share:.2%} of a core; missing: {missing}")


if __name__ == "__main__":
    main()
