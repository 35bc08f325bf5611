"""How long things take to start: `autotune --help`, a trial after the first, recommend() from its cache.

Run by hand: python -m benchmarks.start_up. Prints medians with the range; see benchmarks/README.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

from autotune.config import Circumstances, TrainingConfig
from autotune.records import Job, ModelSpec
from autotune.tuner.session import Server

REPEATS = 10


def help_s() -> list[float]:
    """Wall time of `autotune --help`, process start included."""
    return [_wall_s([sys.executable, "-m", "autotune", "--help"]) for _ in range(REPEATS)]


def python_s() -> list[float]:
    """Wall time of a Python that does nothing: what no program in Python can go below here."""
    return [_wall_s([sys.executable, "-c", ""]) for _ in range(REPEATS)]


def trial_s() -> list[float]:
    """From the order to the first forward pass of frcnn_mobilenet on the CPU, second trial on."""
    job = Job(model=ModelSpec(name="frcnn_mobilenet"), device="cpu", effective_batch=1)
    config = TrainingConfig.baseline(Circumstances("cpu", 1))
    found = []
    with Server("cpu") as server:
        server.prepare(job)
        for _ in range(REPEATS + 1):
            session = server.start(config)
            answer = session.step(0, 600.0)
            found.append(answer.began_s - session.ordered_s)
            session.close()
    return found[1:]


def cached_s() -> list[float]:
    """A recommend() that the cache answers, in a process that has torch loaded."""
    import autotune
    from autotune import cache
    from autotune.detectors.build import build
    from autotune.workload.synthetic import SyntheticSamples

    spec = ModelSpec(name="frcnn_resnet50")
    model = build(spec, device_type="cpu", num_classes=91, seed=0).model
    samples = SyntheticSamples(100, 0)
    dataset = [samples.load(index) for index in range(16)]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUTOTUNE_CACHE"] = folder
        # One real run fills the cache; a tiny detector keeps it short, and its record is as long as any.
        record = autotune.recommend("ssdlite320_mobilenet", effective_batch_size=2, budget="20s", device="cpu").record
        key = cache.key(model, dataset, "cpu", (2, "adamw", None, None))
        assert key is not None
        cache.save(key, record)
        for _ in range(REPEATS):
            began_s = time.perf_counter()
            answer = autotune.recommend(model, dataset, effective_batch_size=2, device="cpu")
            found.append(time.perf_counter() - began_s)
            assert answer.from_cache
    return found


def _wall_s(command: list[str]) -> float:
    began_s = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began_s


def main() -> None:
    for name, measure in (
        ("python -c ''", python_s),
        ("autotune --help", help_s),
        ("a trial after the first", trial_s),
        ("recommend() from its cache", cached_s),
    ):
        samples = measure()
        print(f"{name:<28} {median(samples) * 1e3:7.1f} ms  ({min(samples) * 1e3:.1f} to {max(samples) * 1e3:.1f})")


if __name__ == "__main__":
    main()
