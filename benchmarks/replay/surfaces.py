"""Surfaces: for every config the true step time and peak memory, made up from a seed or taken from a recorded grid.

A synthetic surface is a detector on a GPU: a micro-batch takes what the host needs to launch it or what the device
needs to compute it, whichever is more (smoothly); precision, channels_last and cudnn.benchmark change both, and not
independently; small batches fill the device badly, large ones may slow down; memory is nearly a line.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace

from autotune.config import KNOBS, Circumstances, Precision, TrainingConfig
from autotune.records import Outcome
from autotune.tuner.space import Space

__all__ = ["MEMORY_SHARE", "Surface", "equal", "slow_starts", "synthetic"]

_GIB = 2**30
# The effective batch of a synthetic surface: it has twelve divisors.
_EFFECTIVE_BATCH = 96
# What a recommended config may take of the memory: the best config is one that leaves this margin.
MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class Surface:
    """step_s, peak_bytes: by config, for all configs of the space; memory_bytes: beyond it a config does not run.

    processes: how recorded steps vary, by config: a list a process, of factors of the config's mean; None where that is
    made up too. failures: what became of those that cannot train here otherwise than for want of memory. start_s: what
    a process takes before its first step; compiling_s: beyond that, for kernels that are compiled. knobs: the extra
    knobs in the space; only: the settings that have some values alone. batches_in_turn: after so many steps the images
    come again in the same batches; None for those of synthetic data.
    """

    name: str
    where: Circumstances
    step_s: dict[TrainingConfig, float]
    peak_bytes: dict[TrainingConfig, int]
    memory_bytes: int
    processes: dict[TrainingConfig, tuple[tuple[float, ...], ...]] | None = None
    failures: dict[TrainingConfig, Outcome] = field(default_factory=dict)
    start_s: float = 2.0
    compiling_s: dict[TrainingConfig, float] = field(default_factory=dict)
    knobs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    batches_in_turn: int | None = None

    @property
    def space(self) -> Space:
        return Space(self.where, knobs=self.knobs, only=self.only)

    def fits(self, config: TrainingConfig) -> bool:
        """Whether it trains here."""
        return self.outcome(config) is Outcome.OK

    def nearest(self, config: TrainingConfig) -> TrainingConfig:
        """The config itself where the space has it; else the one of its batch size that shares most values with it."""
        if config in self.step_s:
            return config

        def shared(other: TrainingConfig) -> int:
            return sum(getattr(other, knob.name) == getattr(config, knob.name) for knob in KNOBS)

        return max((each for each in self.step_s if each.batch_size == config.batch_size), key=shared)

    def outcome(self, config: TrainingConfig) -> Outcome:
        if config in self.failures:
            return self.failures[config]
        return Outcome.OK if self.peak_bytes[config] <= self.memory_bytes else Outcome.OUT_OF_MEMORY

    @property
    def best_s(self) -> float:
        """The least step time among the configs that leave the margin of memory."""
        limit = MEMORY_SHARE * self.memory_bytes
        usable = (config for config in self.step_s if self.fits(config) and self.peak_bytes[config] <= limit)
        return min(self.step_s[config] for config in usable)


def synthetic(seed: int, effective_batch: int = _EFFECTIVE_BATCH) -> Surface:
    """The surface of a seed: 20 cells, of 12 batch sizes for an effective batch of 96."""
    draw = random.Random(f"surface {seed}")
    where = Circumstances("cuda", effective_batch, (8, 0), native_bf16=True)
    host_s = _between(draw, 0.02, 0.12)
    update_s = _between(draw, 0.004, 0.03)
    image_s = _between(draw, 0.002, 0.02)
    unfilled = _between(draw, 0.2, 3.0)
    tensor_cores = draw.uniform(0.35, 0.8)
    slow_beyond = draw.choice([math.inf, math.inf, 8, 16, 32])
    slope = draw.uniform(0.0, 0.06)
    work = {
        Precision.FP32: 1.0,
        Precision.DEFAULT: draw.uniform(0.6, 0.98),
        Precision.TF32: draw.uniform(0.5, 0.9),
        Precision.BF16: tensor_cores,
        Precision.FP16: tensor_cores * draw.uniform(0.96, 1.04),
    }
    launches = {each: 1.0 if each not in _HALF else draw.uniform(1.05, 1.4) for each in work}
    layout = {each: draw.uniform(0.75, 1.06) if each in _HALF else draw.uniform(0.9, 1.15) for each in work}
    searched = draw.uniform(0.85, 1.1)
    fixed_gib, image_gib = draw.uniform(0.8, 3.0), _between(draw, 0.25, 3.0)
    half_memory, workspace_gib = draw.uniform(0.52, 0.75), draw.uniform(0.0, 1.5)
    memory_bytes = draw.choice([16, 24, 40, 80]) * _GIB
    step_s, peak_bytes = {}, {}
    cell_noise: dict[TrainingConfig, tuple[float, float]] = {}
    for config in Space(where).configs():
        assert config.precision is not None
        cell = config.at_batch_size(1, effective_batch)
        own, own_memory = cell_noise.setdefault(cell, (draw.gauss(0.0, 0.02), draw.gauss(0.0, 0.04)))
        batch, half = config.batch_size, config.precision in _HALF
        factor = work[config.precision] * math.exp(own + draw.gauss(0.0, 0.012))
        factor *= layout[config.precision] if config.channels_last else 1.0
        factor *= searched if config.cudnn_benchmark else 1.0
        growth = 1.0 + slope * math.log2(batch / slow_beyond) if batch > slow_beyond else 1.0
        device_s = image_s * factor * (batch + unfilled) * growth
        micro_s = _smooth_max(host_s * launches[config.precision], device_s)
        step_s[config] = config.accumulation_steps * micro_s + update_s
        gib = fixed_gib + batch * image_gib * (half_memory if half else 1.0) * math.exp(own_memory)
        gib += workspace_gib * (1.0 if config.cudnn_benchmark else 0.0)
        peak_bytes[config] = int(gib * math.exp(draw.gauss(0.0, 0.01)) * _GIB)
    surface = Surface(f"synthetic {seed}", where, step_s, peak_bytes, memory_bytes)
    # A model of which not two images fit is no one's surface.
    if surface.fits(surface.space.baseline.at_batch_size(2, effective_batch)):
        return surface
    return synthetic(-seed - 1 if seed >= 0 else seed - 1000, effective_batch)


def slow_starts(seed: int) -> Surface:
    """A synthetic surface on which processes in channels_last compile kernels first, for 10 to 30 s in half precision
    and half of that otherwise: as ssdlite320_mobilenet does on an H200, at torchvision's 16 images a step."""
    made = synthetic(seed, 16)
    seconds = random.Random(f"slow starts {seed}").uniform(10.0, 30.0)
    compiling_s = {
        config: seconds if config.precision in _HALF else 0.5 * seconds
        for config in made.step_s
        if config.channels_last
    }
    return replace(made, name=f"slow starts {seed}", compiling_s=compiling_s)


def equal(seed: int) -> Surface:
    """The memory of a synthetic surface, and one step time for all: whatever a search finds is chance."""
    made = synthetic(seed)
    step_s = min(made.step_s.values())
    return Surface(f"equal {seed}", made.where, dict.fromkeys(made.step_s, step_s), made.peak_bytes, made.memory_bytes)


_HALF = (Precision.BF16, Precision.FP16)


def _between(draw: random.Random, low: float, high: float) -> float:
    """Uniform in the logarithm."""
    return math.exp(draw.uniform(math.log(low), math.log(high)))


def _smooth_max(one: float, other: float, sharpness: float = 6.0) -> float:
    return (one**sharpness + other**sharpness) ** (1.0 / sharpness)
