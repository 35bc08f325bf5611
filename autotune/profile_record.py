"""The profile of one training step: each layer's time, what bounds it, what the machine reaches, what would help.

Times are per optimizer step. Those of layers come from profiled steps, `step_samples_ms` from unprofiled ones.
"""

from __future__ import annotations

from enum import StrEnum
from statistics import fmean, median
from typing import Annotated, TypeAlias

from pydantic import Field, PositiveFloat, computed_field

from autotune.config import TrainingConfig
from autotune.machine_record import DeviceState, Machine
from autotune.nvml_record import NvmlSeries
from autotune.record_base import Record

__all__ = [
    "UNATTRIBUTED",
    "Advice",
    "Bound",
    "Ceiling",
    "CeilingKind",
    "Ceilings",
    "ClassTotal",
    "Layer",
    "Phase",
    "Positive",
    "Profile",
    "Unmodelled",
]

# More than nothing, and no infinity, which a datasheet or a clock never says.
Positive: TypeAlias = Annotated[PositiveFloat, Field(allow_inf_nan=False)]

# The row of what belongs to no layer.
UNATTRIBUTED = "(unattributed)"


class Phase(StrEnum):
    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"


class Bound(StrEnum):
    """Why a layer takes its time.

    communication: it waits for other GPUs (NCCL). unmodelled: most of its time is in operators without a cost,
    or the ceilings that would explain it are not known.
    """

    COMPUTE = "compute"
    MEMORY = "memory"
    LATENCY = "latency"
    HOST = "host"
    COMMUNICATION = "communication"
    UNMODELLED = "unmodelled"


class CeilingKind(StrEnum):
    """What is measured. MATRIX and CONVOLUTION exist once per precision, the others once."""

    MATRIX = "matrix"  # FLOP/s of a matrix product
    CONVOLUTION = "convolution"  # FLOP/s of a dense convolution
    VECTOR = "vector"  # FLOP/s of arithmetic outside tensor cores
    COPY = "copy"  # bytes/s, read and written, of a copy within the device's memory
    HOST_TO_DEVICE = "host_to_device"  # bytes/s from pinned host memory
    LAUNCH = "launch"  # seconds from one launch of an empty kernel (CUDA) or smallest operator (CPU) to the next


class Ceiling(Record):
    """One ceiling of a machine, measured and as its datasheet has it.

    precision: `fp32`, `tf32`, `fp16` or `bf16` of MATRIX and CONVOLUTION, None elsewhere. samples: one value per
    repetition, in the kind's unit. datasheet: the same in the same unit, None where none is known.
    """

    kind: CeilingKind
    precision: str | None = None
    samples: Annotated[tuple[Positive, ...], Field(min_length=1)]
    datasheet: float | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def value(self) -> float:
        """Median of the samples."""
        return median(self.samples)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def spread(self) -> float:
        """(largest - smallest sample) / median."""
        return (max(self.samples) - min(self.samples)) / self.value

    @computed_field  # type: ignore[prop-decorator]
    @property
    def share(self) -> float | None:
        """Share of the datasheet's figure that was reached."""
        return self.value / self.datasheet if self.datasheet else None


class Ceilings(Record):
    """What a machine reaches.

    measured: False where only a datasheet speaks, as for a trace recorded elsewhere. disturbances: what held the device
    back, or shared it, while they were measured.
    """

    ceilings: tuple[Ceiling, ...]
    measured: bool = True
    disturbances: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def get(self, kind: CeilingKind, precision: str | None = None) -> float | None:
        """The ceiling's value; None where it was not measured."""
        found = (each.value for each in self.ceilings if (each.kind, each.precision) == (kind, precision))
        return next(found, None)


class Layer(Record):
    """One module in one phase, per optimizer step.

    layer: the module's qualified name; names in parentheses are no modules: `(model)` the detector's own code outside
    its children, `(inputs)` the copies to the device, `(loss)`, `(optimizer)`, `(unattributed)`, `(communication)`.
    module: the module's class. time_ms: device-busy time; all rows sum to Profile.busy_ms.
    kernels: device events (CUDA) or operators that computed something (CPU). flops, bytes: from the cost model.
    compute_ms, memory_ms: the least time in which the ceilings let these FLOPs, these bytes be done.
    idle_before_ms: the device stood idle before the layer's kernels; host_wait_ms: the part of it in which the kernel
    had not been launched when the one before it ended. Both as in an unprofiled step: what the profiler added is taken
    out. On a GPU all rows sum to Profile.waiting_ms; on a CPU what comes after a step's last operator is in none.
    fewer_multiplications: most of its time is in kernels that do with fewer than are counted (Winograd, FFT).
    waves: how often the layer's grids fill the device, mean weighted by time; None on a CPU.
    modelled: share of time_ms in operators that have a cost. balanced: compute_ms and memory_ms lie within 10%.
    arithmetic: the ceiling that most of the FLOPs were compared with, as `matrix fp32` or `vector`.
    bound: the label. work_bound: what bounds the layer's work on the device, also where the device waits for it longer
    than it works, so that bound is HOST.
    """

    layer: str
    phase: Phase
    module: str = ""
    time_ms: float
    kernels: float
    flops: float
    bytes: float
    compute_ms: float
    memory_ms: float
    idle_before_ms: float
    host_wait_ms: float
    waves: float | None = None
    modelled: float
    arithmetic: str = ""
    bound: Bound
    work_bound: Bound
    balanced: bool = False
    fewer_multiplications: bool = False

    @property
    def floor_ms(self) -> float:
        """The least time that the ceilings allow for its work: by its bytes alone where it is done with fewer
        multiplications than are counted."""
        return self.memory_ms if self.fewer_multiplications else max(self.compute_ms, self.memory_ms)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def compute_ratio(self) -> float:
        """(F/P)/t: the share of the layer's time that its arithmetic explains."""
        return self.compute_ms / self.time_ms if self.time_ms else 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def memory_ratio(self) -> float:
        """(B/W)/t: the share of the layer's time that its memory traffic explains."""
        return self.memory_ms / self.time_ms if self.time_ms else 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def flops_per_second(self) -> float:
        return 1000.0 * self.flops / self.time_ms if self.time_ms else 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def bytes_per_second(self) -> float:
        return 1000.0 * self.bytes / self.time_ms if self.time_ms else 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def intensity(self) -> float | None:
        """FLOPs per byte; None where no byte is modelled."""
        return self.flops / self.bytes if self.bytes else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def above_ceiling(self) -> bool:
        """More than 110% of a ceiling: a wrong cost or ceiling, or caches served what memory is counted for."""
        compute = 0.0 if self.fewer_multiplications else self.compute_ratio
        return max(compute, self.memory_ratio) > 1.1


class ClassTotal(Record):
    """A step's time by class; all sum to the device's busy time and its waiting.

    HOST counts the time in which the device waited for launches, and the layers for which it waited longer than it
    worked. The other classes count the work, and the layers whose work_bound they are: what a host-bound layer computes
    counts with what would bound it if nothing waited. LATENCY has the gaps between kernels that were launched in time.
    """

    bound: Bound
    time_ms: float
    layers: int


class Advice(Record):
    """A knob that the step does not use yet, and the most that it could bring.

    knob, value: as in TrainingConfig, or a later knob's: `precision`, `bf16`. saved_ms: by class, what the layers that
    the knob can move take beyond the least that the ceilings would then allow.
    speedup_at_most: Amdahl's bound on the whole step, step / (step - all that is saved). speedup_at_same_share: the
    same where each layer keeps the share of its ceiling that it reaches today, and those that no ceiling explains stay
    as they are; None where the ceilings say nothing of the knob.
    """

    knob: str
    value: str
    speedup_at_most: float
    speedup_at_same_share: float | None = None
    saved_ms: dict[Bound, float]
    sentence: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def bound(self) -> Bound:
        """The class in which most of it is saved."""
        return max(self.saved_ms, key=self.saved_ms.__getitem__)


class Unmodelled(Record):
    """Operators without a cost: their name and device-busy time per step."""

    operator: str
    time_ms: float


class Profile(Record):
    """Why a training step takes its time.

    profiled_step_ms: the steps in the trace. step_samples_ms: unprofiled steps, in rounds over the images of the
    profiled ones: sample i trained on those of step i modulo their number. Empty for a trace recorded elsewhere.
    busy_ms, idle_ms: the device's time per profiled step; on a CPU busy is the time inside operators.
    state, nvml: the device while the unprofiled steps ran.
    by_operator: the trace names no layers, so that `layers` are its operators.
    """

    model: str
    config: TrainingConfig | None = None
    machine: Machine | None = None
    device: str
    device_type: str
    step_samples_ms: tuple[Positive, ...] = ()
    profiled_step_ms: Annotated[tuple[Positive, ...], Field(min_length=1)]
    busy_ms: float
    idle_ms: float
    coverage: float
    layers: tuple[Layer, ...]
    classes: tuple[ClassTotal, ...]
    advice: tuple[Advice, ...] = ()
    by_operator: bool = False
    unmodelled: tuple[Unmodelled, ...] = ()
    ceilings: Ceilings | None = None
    state: DeviceState = DeviceState()
    nvml: NvmlSeries | None = None
    notes: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def step_ms(self) -> float:
        """Time of an unprofiled step, of a profiled one where there is no other: the mean over the steps' images, as
        busy_ms and idle_ms are, of the median over the rounds."""
        count = len(self.profiled_step_ms)
        samples_ms = self.step_samples_ms or self.profiled_step_ms
        return fmean(median(samples_ms[step::count]) for step in range(min(count, len(samples_ms))))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def inflation(self) -> float | None:
        """How many times longer a step takes under the profiler; None where no unprofiled step was timed."""
        return fmean(self.profiled_step_ms) / self.step_ms if self.step_samples_ms else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def waiting_ms(self) -> float:
        """How long the device waits in a step.

        The profiler slows the host down, and not a GPU: what an unprofiled step takes beyond the busy time is the
        waiting. On a CPU both take longer under the profiler, so that the profiled step's share stands.
        """
        if self.device_type == "cuda" and self.step_samples_ms:
            return min(self.idle_ms, max(0.0, self.step_ms - self.busy_ms))
        return self.idle_ms

    @computed_field  # type: ignore[prop-decorator]
    @property
    def host_ms(self) -> float:
        """How long the device waits for launches in a step; on a CPU for Python, also after the last operator."""
        return sum(layer.host_wait_ms for layer in self.layers) if self.device_type == "cuda" else self.waiting_ms

    @computed_field  # type: ignore[prop-decorator]
    @property
    def host_share(self) -> float:
        """The share of a step in which the device waits for launches: 0 where none was late."""
        whole_ms = self.busy_ms + self.waiting_ms
        return self.host_ms / whole_ms if whole_ms else 0.0

    def __str__(self) -> str:
        """What print() shows: repr() has every sample."""
        from autotune.reports import profile_sentences

        return profile_sentences.headline(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from autotune.reports import notebook

        return notebook.profile(self)
