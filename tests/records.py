"""Run records as real runs leave them, for tests of whatever reads records."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import count

from autotune.config import Circumstances, Precision, TrainingConfig
from autotune.profile_record import Bound, Layer, Phase
from autotune.records import (
    DataSpec,
    DeviceState,
    Job,
    Machine,
    ModelSpec,
    Outcome,
    Recommended,
    RunRecord,
    Stage,
    Status,
    Trial,
    Verdict,
    VerdictKind,
    WorkloadFacts,
)
from profiles import detector_profile, host_bound_profile, layer, nvml_series, timeline

GIB = 2**30
H200 = Machine(
    device_type="cuda",
    device_name="NVIDIA H200",
    device_memory_bytes=int(139.8 * GIB),
    device_uuid="GPU-0",
    compute_capability=(9, 0),
    multiprocessors=132,
    driver="570.1",
    cuda="13.0",
    cudnn=91400,
    cpu_name="Intel Xeon 8480C",
    cpu_cores=16,
    threads=16,
    native_bf16=True,
    memory_bytes=128 * GIB,
    os="Linux",
    python="3.12.3",
    torch="2.14.1+cu130",
    torchvision="0.29.1+cu130",
    autotune="0.1.0",
)
CPU = H200.model_copy(
    update={
        "device_type": "cpu",
        "device_name": "AMD EPYC",
        "device_memory_bytes": 24 * GIB,
        "device_uuid": None,
        "compute_capability": None,
        "driver": None,
        "cuda": None,
        "cudnn": None,
        "cpu_name": "AMD EPYC",
        "native_bf16": False,
    }
)
FACTS = WorkloadFacts(
    model="frcnn_mobilenet",
    parameters=19_386_354,
    trainable_parameters=19_327_154,
    input="shorter side 800 px, at most 1333 px",
    data="raccoon",
    images=160,
    skipped=2,
    categories=1,
    mean_boxes=1.1,
    images_in_turn=64,
)
WHERE = Circumstances("cuda", 16, (9, 0), native_bf16=True)
BASELINE = TrainingConfig.baseline(WHERE)
BF16 = BASELINE.model_copy(update={"precision": Precision.BF16, "channels_last": True})
FP16 = BASELINE.model_copy(update={"precision": Precision.FP16})
TF32 = BASELINE.model_copy(update={"precision": Precision.TF32})
# Steps replay batches of different image sizes: relative durations of the first eight.
SIZES = (1.0, 1.3, 0.8, 1.1, 0.9, 1.2, 1.0, 0.7)


def ok(
    config: TrainingConfig, ms: float, stage: Stage = Stage.SETTINGS, first_step: int = 0, **fields: object
) -> Trial:
    """A timed trial: eight steps around ms."""
    return Trial(
        **{
            "number": 0,
            "stage": stage,
            "config": config,
            "outcome": Outcome.OK,
            "worst_case_ms": 2 * ms,
            "warmup_ms": (3 * ms, 1.2 * ms, ms),
            "step_ms": tuple(ms * size for size in SIZES),
            "steps": tuple(range(first_step, first_step + len(SIZES))),
            "peak_memory_bytes": 41 * GIB,
            "startup_s": 2.5,
            "duration_s": 9.0,
            **fields,
        }
    )


def checked(config: TrainingConfig) -> list[Trial]:
    """A check of the numerics: fp32's losses, and the same again."""
    plain = config.model_copy(update={"precision": Precision.FP32, "channels_last": False})
    return [
        Trial(number=0, stage=Stage.NUMERICS, config=each, outcome=Outcome.OK, losses=(2.0,) * 6, duration_s=9.0)
        for each in (plain, config)
    ]


def failed(config: TrainingConfig, outcome: Outcome, detail: str) -> Trial:
    return Trial(number=0, stage=Stage.SETTINGS, config=config, outcome=outcome, detail=detail, duration_s=4.0)


def race(candidate: TrainingConfig, baseline_ms: float, candidate_ms: float, blocks: int) -> list[Trial]:
    """Blocks as the tuner numbers them: each side its own number, both over the same steps."""
    return [
        ok(config, ms, Stage.RACE, first_step=100 + 8 * block, block=2 * block + side)
        for block in range(blocks)
        for side, (config, ms) in enumerate([(BASELINE, baseline_ms), (candidate, candidate_ms)])
    ]


def heats(times_ms: dict[TrainingConfig, Sequence[float]]) -> list[Trial]:
    """The heats' blocks, a time for each block that a config took part in."""
    return [
        ok(config, ms, Stage.HEATS, first_step=8 * block, block=8 * block + side)
        for block in range(max(map(len, times_ms.values())))
        for side, (config, times) in enumerate(times_ms.items())
        for ms in times[block : block + 1]
    ]


def verdict(candidate: TrainingConfig, ratio: float, blocks: int, half_width: float = 0.03) -> Verdict:
    low, high = ratio - half_width, ratio + half_width
    kind = VerdictKind.FASTER if low > 1.01 else VerdictKind.NO_REAL_DIFFERENCE
    words = f"{ratio:.2f}x [{low:.2f}, {high:.2f}]"
    return Verdict(
        kind=kind,
        candidate=candidate,
        ratio=ratio,
        low=low,
        high=high,
        log_ratios=(math.log(ratio),) * blocks,
        sentence=f"{candidate.label()}: {words} faster than your baseline."
        if kind is VerdictKind.FASTER
        else f"No real difference: {candidate.label()} runs at {words} the speed of your baseline.",
    )


def run_record(trials: Sequence[Trial] = (), **fields: object) -> RunRecord:
    """A finished run on an H200 over trials, numbered in their order."""
    numbers = count(1)
    return RunRecord(
        **{
            "status": Status.FINISHED,
            "command": ("autotune", "run", "--model", "frcnn_mobilenet", "--data", "my data.json"),
            "started": "2026-11-22T20:00:00+00:00",
            "job": Job(model=ModelSpec(name="frcnn_mobilenet"), data=DataSpec(), device="cuda", effective_batch=16),
            "machine": H200,
            "workload": FACTS,
            "budget_s": 300.0,
            "spent_s": 280.5,
            "search": "first",
            "baseline": BASELINE,
            "trials": tuple(trial.model_copy(update={"number": next(numbers)}) for trial in trials),
            **fields,
        }
    )


def faster() -> RunRecord:
    """bf16 + channels_last wins; other settings fail in four ways."""
    trials = [
        ok(BASELINE, 400.0, Stage.BASELINE, peak_memory_bytes=62 * GIB),
        ok(BF16, 175.0),
        ok(TF32, 360.0, gave_up=True),
        failed(FP16, Outcome.NON_FINITE, "loss is inf at step 3"),
        failed(BASELINE.at_batch_size(8, 16), Outcome.CRASHED, "killed by SIGSEGV\nlast words: <b>core dumped</b>"),
        failed(BASELINE.at_batch_size(4, 16), Outcome.TIMEOUT, "no answer for 60 s"),
        failed(BASELINE.at_batch_size(2, 16), Outcome.OUT_OF_MEMORY, "tried to allocate 2.00 GiB"),
        *checked(BF16),
        *race(BF16, 404.0, 174.9, blocks=8),
    ]
    return run_record(
        trials,
        recommendation=Recommended(config=BF16, verdict=verdict(BF16, 2.31, 8)),
        left_out=("precision: fp16 diverged",),
        not_tried=(BF16.at_batch_size(8, 16), BF16.at_batch_size(4, 16)),
    )


def tie() -> RunRecord:
    """An A/A run on a CPU: the baseline raced itself."""
    where = Circumstances("cpu", 4)
    baseline = TrainingConfig.baseline(where)
    trials = [
        ok(baseline, ms, stage, first, state=DeviceState(cpu_load_by_others=cores), peak_memory_bytes=3 * GIB)
        for ms, stage, first, cores in [
            (900.0, Stage.BASELINE, 0, 0.1),
            (900.0, Stage.RACE, 8, 0.4),
            (905.0, Stage.RACE, 8, 1.2),
        ]
    ]
    return run_record(
        trials,
        machine=CPU,
        workload=FACTS.model_copy(update={"notes": ("input reduced to 320 px, since this is a CPU",)}),
        job=Job(model=ModelSpec(name="frcnn_mobilenet"), device="cpu", effective_batch=4),
        baseline=baseline,
        recommendation=Recommended(config=baseline, verdict=verdict(baseline, 1.0, 3)),
    )


def disturbed() -> RunRecord:
    """A verdict from few blocks, throttled and in company, with a recommended config that crashed once."""
    bad = DeviceState(throttled=("software power cap",), other_gpu_processes=2, missing=("power",))
    drifting = (100.0, 101.0, 100.5, 100.2, 120.0, 121.0, 120.5, 120.2)
    trials = [
        ok(BASELINE, 100.0, Stage.BASELINE, step_ms=drifting),
        ok(BF16, 50.0, state=bad),
        failed(BF16, Outcome.CRASHED, "killed by SIGKILL"),
        *(trial.model_copy(update={"state": bad}) for trial in race(BF16, 100.0, 50.0, blocks=3)),
    ]
    return run_record(
        trials,
        status=Status.INTERRUPTED,
        recommendation=Recommended(config=BF16, verdict=verdict(BF16, 2.0, 3, half_width=0.3)),
    )


def profiled() -> RunRecord:
    """A run that also profiled what it recommends."""
    return faster().model_copy(update={"profile": detector_profile()})


def with_heats() -> RunRecord:
    """The winner beside two others, one of which leaves after three blocks."""
    times_ms = {BF16: (175.0,) * 5, TF32: (210.0,) * 3, BF16.at_batch_size(8, 16): (176.0, 175.0, 174.0, 175.0, 180.0)}
    trials = [*faster().trials[:3], *heats(times_ms), *race(BF16, 404.0, 174.9, blocks=8)]
    return run_record(trials, recommendation=faster().recommendation)


def nothing_measured(status: Status = Status.FAILED, error: str | None = "no CUDA GPU") -> RunRecord:
    """A run that ended before it had a machine."""
    return run_record(status=status, error=error, machine=None, workload=None, baseline=None)


def interrupted() -> RunRecord:
    """A run stopped with Ctrl-C before the race."""
    return run_record([ok(BASELINE, 400.0, Stage.BASELINE), ok(BF16, 175.0)], status=Status.INTERRUPTED)


def _large_layers(count: int) -> list[Layer]:
    dice = random.Random(0)
    return [
        layer(
            f"backbone.body.layer{place % 4}.{place // 8}.conv",
            (Phase.FORWARD, Phase.BACKWARD)[place // 4 % 2],
            dice.lognormvariate(-2.0, 1.5),
            dice.choice(list(Bound)),
            flops=10.0 ** dice.uniform(6.0, 12.0),
            bytes=10.0 ** dice.uniform(5.0, 9.0),
            module="Conv2d",
        )
        for place in range(count)
    ]


def large() -> RunRecord:
    """3,000 layers and 500 trials of 50 configs."""
    dice = random.Random(0)
    trials = [
        ok(
            TrainingConfig(
                batch_size=2 ** dice.randint(0, 4),
                precision=dice.choice(list(Precision)),
                channels_last=dice.random() < 0.5,
            ),
            dice.lognormvariate(5.0, 0.5),
            timeline=timeline(30),
        )
        for _ in range(484)
    ]
    return run_record(
        [*trials, *race(BF16, 404.0, 174.9, blocks=8)],
        recommendation=faster().recommendation,
        profile=detector_profile(_large_layers(3000), nvml=nvml_series(300)),
    )


EVERY_KIND = {
    "faster": faster(),
    "profiled": profiled(),
    "profiled and host-bound": faster().model_copy(update={"profile": host_bound_profile()}),
    "with heats": with_heats(),
    "tie": tie(),
    "disturbed": disturbed(),
    "interrupted": interrupted(),
    "interrupted before anything": nothing_measured(Status.INTERRUPTED, None),
    "failed": nothing_measured(),
    "finished with nothing": nothing_measured(Status.FINISHED, None),
}
