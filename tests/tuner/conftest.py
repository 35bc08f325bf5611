"""A trial server that is started once, and a bench on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from autotune.records import DataSpec, Job, ModelSpec
from autotune.tuner.bench import LiveBench
from autotune.tuner.session import Server

import tiny


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


@pytest.fixture
def make_bench(tiny_job: Job) -> Iterator[Callable[..., LiveBench]]:
    benches: list[LiveBench] = []

    def make(job: Job = tiny_job, journal: Path | None = None) -> LiveBench:
        server = Server("cpu")
        bench = LiveBench(job, server.machine, None, 60.0, lambda progress: None)
        bench.use(server)
        benches.append(bench)
        server.prepare(job)
        return bench

    yield make
    for bench in benches:
        bench.close()
