"""Profiles as profiled runs leave them, for tests of whatever reads profiles."""

from __future__ import annotations

import random
from collections.abc import Sequence

from autotune.config import Precision, TrainingConfig
from autotune.nvml_record import DeviceTimeline, NvmlSample, NvmlSeries
from autotune.profile_record import (
    UNATTRIBUTED,
    Advice,
    Bound,
    Ceiling,
    CeilingKind,
    Ceilings,
    ClassTotal,
    Layer,
    Phase,
    Profile,
    Unmodelled,
)

# What an H200 reaches: FLOP/s of a bf16 convolution, bytes/s of a copy.
FLOPS_PER_S = 620e12
BYTES_PER_S = 4.1e12
CONFIG = TrainingConfig(
    batch_size=16, accumulation_steps=1, precision=Precision.BF16, channels_last=True, cudnn_benchmark=False
)
CEILINGS = Ceilings(
    ceilings=(
        Ceiling(kind=CeilingKind.MATRIX, precision="bf16", samples=(690e12, 700e12, 695e12), datasheet=989e12),
        Ceiling(kind=CeilingKind.CONVOLUTION, precision="bf16", samples=(FLOPS_PER_S, 610e12, 625e12)),
        Ceiling(kind=CeilingKind.COPY, samples=(BYTES_PER_S, 4.08e12, 4.12e12), datasheet=4.8e12),
        Ceiling(kind=CeilingKind.LAUNCH, samples=(2.31e-6, 2.3e-6, 2.4e-6)),
    ),
    notes=("clocks were not locked",),
)
DATASHEET = Ceilings(
    ceilings=(Ceiling(kind=CeilingKind.COPY, samples=(4.8e12,), datasheet=4.8e12),),
    measured=False,
)


def layer(name: str, phase: Phase, time_ms: float, bound: Bound = Bound.MEMORY, **fields: object) -> Layer:
    """A layer whose figures are such that its bound is the one given."""
    ratios = {Bound.COMPUTE: (0.82, 0.31), Bound.MEMORY: (0.12, 0.88), Bound.UNMODELLED: (0.0, 0.0)}
    compute, memory = ratios.get(bound, (0.02, 0.11))
    return Layer(
        **{
            "layer": name,
            "phase": phase,
            "time_ms": time_ms,
            "kernels": 3.0,
            "flops": compute * time_ms / 1000.0 * FLOPS_PER_S,
            "bytes": memory * time_ms / 1000.0 * BYTES_PER_S,
            "compute_ms": compute * time_ms,
            "memory_ms": memory * time_ms,
            "idle_before_ms": 0.0,
            "host_wait_ms": 0.0,
            "waves": 4.6,
            "modelled": 1.0,
            "bound": bound,
            "work_bound": Bound.LATENCY if bound is Bound.HOST else bound,
            **fields,
        }
    )


def profile(layers: Sequence[Layer], *, idle_ms: float = 0.0, **fields: object) -> Profile:
    """The profile of a step of these layers: what follows from them is computed."""
    busy_ms = sum(each.time_ms for each in layers)
    own = sum(each.time_ms for each in layers if each.layer != UNATTRIBUTED)
    made = Profile(
        **{
            "model": "frcnn_resnet50",
            "config": CONFIG,
            "device": "NVIDIA H200",
            "device_type": "cuda",
            "step_samples_ms": 3 * (100.0, 99.0, 101.0),
            "profiled_step_ms": (112.0, 112.0, 113.0),
            "busy_ms": busy_ms,
            "idle_ms": idle_ms,
            "coverage": own / busy_ms if busy_ms else 0.0,
            "layers": tuple(layers),
            "classes": (),
            "ceilings": CEILINGS,
            **fields,
        }
    )
    return made.model_copy(update={"classes": class_totals(made)})


def class_totals(made: Profile) -> tuple[ClassTotal, ...]:
    totals = []
    for bound in Bound:
        own = [each for each in made.layers if each.work_bound is bound]
        gaps_ms = sum(each.idle_before_ms - each.host_wait_ms for each in made.layers)
        time_ms = made.host_ms if bound is Bound.HOST else sum(each.time_ms for each in own)
        time_ms += gaps_ms if bound is Bound.LATENCY else 0.0
        count = sum(each.bound is bound for each in made.layers) if bound is Bound.HOST else len(own)
        if time_ms:
            totals.append(ClassTotal(bound=bound, time_ms=time_ms, layers=count))
    return tuple(totals)


def advised(knob: str, at_most: float, sentence: str = "if its layers came down", **fields: object) -> Advice:
    """Advice on what a knob could save in memory-bound layers."""
    return Advice(
        knob=knob,
        value="true",
        speedup_at_most=at_most,
        saved_ms={Bound.MEMORY: 100.0 - 100.0 / at_most},
        sentence=sentence,
        **fields,
    )


def detector_layers() -> tuple[Layer, ...]:
    forward, backward = Phase.FORWARD, Phase.BACKWARD
    return (
        layer("(inputs)", forward, 1.2, Bound.UNMODELLED, modelled=0.0),
        layer("backbone.body.conv1", forward, 9.0, memory_ms=10.8),
        layer("backbone.body.conv1", backward, 6.0),
        layer("backbone.body.layer1.0.conv2", forward, 8.0, Bound.COMPUTE),
        layer("backbone.body.layer1.0.conv2", backward, 15.0, Bound.COMPUTE, balanced=True),
        layer("backbone.body.layer1.0.bn2", forward, 0.4),
        layer("backbone.fpn.layer_blocks.0.0", backward, 11.0, Bound.COMPUTE),
        layer("rpn.head.conv.0.0", forward, 7.5, Bound.COMPUTE),
        layer("roi_heads", forward, 12.0, Bound.HOST, waves=0.3, kernels=410.5, idle_before_ms=14.0, host_wait_ms=13.0),
        layer("roi_heads.box_head.fc6", backward, 5.0, Bound.COMPUTE),
        layer("(loss)", forward, 0.3, Bound.LATENCY, waves=0.02),
        layer("(optimizer)", Phase.OPTIMIZER, 6.2),
        layer(UNATTRIBUTED, forward, 0.1, Bound.UNMODELLED, modelled=0.0, waves=None),
    )


def detector_profile(layers: Sequence[Layer] | None = None, **fields: object) -> Profile:
    """A step of Faster R-CNN on an H200: a dozen layers of every kind, one above its ceiling."""
    return profile(
        detector_layers() if layers is None else layers,
        **{
            "idle_ms": 30.3,
            "advice": (
                advised("channels_last", 1.18, speedup_at_same_share=1.05),
                Advice(
                    knob="compile",
                    value="true",
                    speedup_at_most=1.37,
                    saved_ms={Bound.MEMORY: 2.5, Bound.HOST: 13.0, Bound.LATENCY: 0.1},
                    sentence="if nothing waited for Python",
                ),
            ),
            "unmodelled": tuple(Unmodelled(operator=f"torchvision::op{n}", time_ms=1.3 / 2**n) for n in range(7)),
            "notes": ("2 of 5 steps were left out: their graphs differ",),
            **fields,
        },
    )


def nvml_series(count: int = 40) -> NvmlSeries:
    """Samples every 0.1 s, the slow questions asked every tenth time only."""
    samples = (
        NvmlSample(
            at_s=100.0 + place / 10.0,
            gpu_busy_percent=50 + place % 50,
            memory_used_bytes=2**35,
            power_watts=400.0 + place,
            temperature_celsius=50 if place % 10 == 0 else None,
            clock_events=("power cap",),
            energy_millijoules=40_000 * place,
        )
        for place in range(count)
    )
    return NvmlSeries(device_uuid="GPU-0", samples=tuple(samples))


def timeline(count: int = 12, watts: float = 600.0) -> DeviceTimeline:
    """A trial's: a power cap from the third sample on."""
    return DeviceTimeline(
        at_s=tuple(1.0 + 0.2 * place for place in range(count)),
        gpu_busy_percent=tuple(80 + place % 20 for place in range(count)),
        memory_used_bytes=(2**35,) * count,
        power_watts=tuple(watts + place for place in range(count)),
        sm_clock_mhz=tuple(1980 - 15 * place for place in range(count)),
        clock_events=tuple(("idle",) if place < 2 else ("software power cap",) for place in range(count)),
    )


def host_bound_profile() -> Profile:
    """A step of a small detector: the device waits for Python most of the time."""
    waiting = layer("roi_heads.nms", Phase.FORWARD, 1.0, Bound.HOST, idle_before_ms=94.3, host_wait_ms=94.3)
    return detector_profile(
        (*detector_layers(), waiting), idle_ms=139.0, step_samples_ms=(190.0, 191.0, 192.0), profiled_step_ms=(221.7,)
    )


def large_profile(seed: int = 0, layers: int = 400) -> Profile:
    """Random layers in a random tree of modules; a few large ones, many small, as in a real step."""
    draw = random.Random(seed)
    names = {f"{draw.choice(['backbone.body', 'rpn', 'roi_heads'])}.{draw.randrange(9)}.{n}" for n in range(layers)}
    return profile(
        [
            layer(
                name + draw.choice(["", ".0", ".conv.weighted_module_of_a_long_name.1", ".bn"]),
                draw.choice([Phase.FORWARD, Phase.BACKWARD]),
                draw.lognormvariate(-2.0, 1.5),
                draw.choice(list(Bound)),
                memory_ms=draw.uniform(0.0, 0.3),
                idle_before_ms=draw.choice([0.0, draw.random()]),
                waves=draw.choice([None, 10.0 ** draw.uniform(-2, 4)]),
                kernels=draw.choice([1.0, 2.5, 12345.0]),
            )
            for name in sorted(names)
        ],
        idle_ms=3.0,
    )


def from_a_trace() -> Profile:
    """A trace recorded elsewhere: no unprofiled step, no ceilings but the datasheet's, nothing modelled."""
    return detector_profile(step_samples_ms=(), ceilings=DATASHEET, config=None, advice=(), unmodelled=())


def on_cpu() -> Profile:
    """A CPU has no waves, and its ceilings may be absent."""
    layers = [layer("body.conv", Phase.FORWARD, 30.0, waves=None), layer("body.conv", Phase.BACKWARD, 61.0, waves=None)]
    return profile(layers, idle_ms=1.0, device="AMD EPYC", device_type="cpu", ceilings=None, config=None)


EVERY_PROFILE = {
    "detector": detector_profile(),
    "host-bound": host_bound_profile(),
    "large": large_profile(),
    "from a trace": from_a_trace(),
    "on a CPU": on_cpu(),
    "no layers": profile([], ceilings=None),
    "no layers, idle": profile([], idle_ms=5.0),
    "all unattributed": profile([layer(UNATTRIBUTED, Phase.FORWARD, 9.0, Bound.UNMODELLED, modelled=0.0)]),
    "names in parentheses only": profile(
        [layer(f"({name})", Phase.FORWARD, 2.0) for name in ("model", "inputs", "loss", "optimizer", "communication")]
    ),
}
