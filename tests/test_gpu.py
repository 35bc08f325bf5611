"""The knobs, the outcomes and recommend() on a real GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import autotune
import tiny
from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.probes.analysis import profile_of_trace
from autotune.profile_record import CeilingKind, Phase
from autotune.records import Job, ModelSpec, Outcome, Stage, VerdictKind
from autotune.tuner.bench import LiveBench
from autotune.tuner.order import Order
from autotune.tuner.profiling import TRACE
from autotune.tuner.request import Request
from autotune.tuner.run import profile_run, run
from autotune.tuner.session import Server

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def bench() -> Iterator[LiveBench]:
    # Of a fixed input: cudnn.benchmark takes up to 20 s at each new image size on an H200, and what cuDNN compiles for
    # a MobileNet's depthwise convolutions in channels_last as long.
    job = Job(model=ModelSpec(name="ssd300_vgg16"), device="cuda", effective_batch=4)
    server = Server("cuda")
    server.prepare(job)
    bench = LiveBench(job, server.machine, None, 1e6, lambda progress: None)
    bench.use(server)
    yield bench
    bench.close()


def _baseline(effective_batch: int = 4) -> TrainingConfig:
    return TrainingConfig.baseline(Circumstances("cuda", effective_batch, (9, 0), native_bf16=True))


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("cudnn_benchmark", [False, True])
def test_every_setting_trains_with_finite_loss(
    bench: LiveBench, precision: Precision, channels_last: bool, cudnn_benchmark: bool
) -> None:
    config = _baseline().model_copy(
        update={"precision": precision, "channels_last": channels_last, "cudnn_benchmark": cudnn_benchmark}
    )
    trial = bench.measure(Order(Stage.SETTINGS, config, range(2)))
    assert trial.outcome is Outcome.OK, trial.detail
    assert len(trial.step_ms) == 2
    assert trial.peak_memory_bytes is not None
    assert trial.peak_memory_bytes > 10e6
    assert trial.state.sm_clock_mhz is not None


def test_a_gpu_with_too_little_memory_is_out_of_memory() -> None:
    outcomes = []
    for limit_bytes in (200_000_000, 20_000_000_000):
        job = Job(
            model=ModelSpec(name="frcnn_mobilenet"), device="cuda", effective_batch=8, memory_limit_bytes=limit_bytes
        )
        with Server("cuda") as server:
            server.prepare(job)
            bench = LiveBench(job, server.machine, None, 1e6, lambda progress: None)
            bench.use(server)
            outcomes.append(bench.measure(Order(Stage.BASELINE, _baseline(8), range(1))).outcome)
    assert outcomes == [Outcome.OUT_OF_MEMORY, Outcome.OK]


def test_an_allocator_that_runs_dry_in_every_step_thrashes() -> None:
    job = Job(
        model=ModelSpec(name="tiny:thrashing"), device="cuda", effective_batch=4, memory_limit_bytes=2_000_000_000
    )
    with Server("cuda") as server:
        server.prepare(job)
        bench = LiveBench(job, server.machine, None, 1e6, lambda progress: None)
        bench.use(server)
        trial = bench.measure(Order(Stage.BASELINE, _baseline(), range(3)))
    assert trial.outcome is Outcome.THRASH, trial


def test_a_run_on_the_gpu_ends_with_a_verdict() -> None:
    request = Request(model=ModelSpec(name="ssd300_vgg16"), device="cuda", effective_batch=8, budget_s=60.0)
    record = run(request)
    assert record.recommendation is not None
    assert record.recommendation.verdict.kind is not VerdictKind.NOT_MEASURED
    assert record.machine is not None
    assert record.machine.device_type == "cuda"


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet", "frcnn_mobilenet_320"])
def test_the_layers_of_a_detector_explain_the_gpus_time(name: str, tmp_path: Path) -> None:
    request = Request(model=ModelSpec(name=name), device="cuda", effective_batch=4)
    profile = profile_run(request, directory=tmp_path).profile
    assert profile is not None
    assert profile.device_type == "cuda"
    assert profile.coverage >= 0.99
    assert {layer.phase for layer in profile.layers} == set(Phase)
    assert sum(layer.time_ms for layer in profile.layers) == pytest.approx(profile.busy_ms, rel=1e-9)
    assert any(layer.waves for layer in profile.layers)
    assert profile.ceilings is not None
    assert profile.ceilings.get(CeilingKind.COPY)
    assert profile.nvml is not None
    assert profile_of_trace(tmp_path / TRACE) == profile


def test_recommend_leaves_a_model_on_the_gpu_where_it_is() -> None:
    model = tiny.Tiny().cuda()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.cuda.get_rng_state()
    found = autotune.recommend(model, dataset=tiny.items(8), effective_batch_size=2, budget="20s")
    assert found.record.machine is not None
    assert found.record.machine.device_type == "cuda"
    assert torch.equal(torch.cuda.get_rng_state(), random_state)
    for name, value in model.state_dict().items():
        assert value.is_cuda
        assert torch.equal(value, before[name])
