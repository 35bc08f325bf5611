"""A trial server that is started once, and a bench on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tiny
from autotune.records import DataSpec, Job, ModelSpec
from autotune.tuner.bench import LiveBench
from autotune.tuner.session import Server


@pytest.fixture(scope="session")
def tiny_job(tiny_data: DataSpec) -> Job:
    return Job(
        model=ModelSpec(name="tiny:misbehaving"),
        data=tiny_data,
        device="cpu",
        effective_batch=tiny.EFFECTIVE_BATCH,
        memory_limit_bytes=1_000_000_000,
        threads=1,
    )


@pytest.fixture(scope="module")
def shared_bench(tiny_job: Job) -> Iterator[LiveBench]:
    """One server for a module's tests: it takes seconds to start, and a trial cannot hurt it unless it tries."""
    server = Server("cpu")
    server.prepare(tiny_job)
    bench = LiveBench(tiny_job, server.machine, None, 1e6, lambda progress: None)
    bench.use(server)
    yield bench
    bench.close()
