"""The run record and its parts: the one JSON document that a run leaves, and every report is drawn from.

All records are frozen. Raw samples are stored; what can be computed from them is a property, or a computed field
that `--json` prints and `run.json` leaves out.
"""

from __future__ import annotations

import json
import math
from enum import StrEnum
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal

from pydantic import PositiveFloat, ValidationError, computed_field

from autotune.config import TrainingConfig
from autotune.energy_record import Energy
from autotune.errors import RecordError
from autotune.machine_record import DeviceState, Machine
from autotune.nvml_record import DeviceTimeline
from autotune.profile_record import Profile
from autotune.record_base import Record

__all__ = [
    "SCHEMA_VERSION",
    "SIDES_AT_MOST",
    "Compilation",
    "DataSpec",
    "DeviceState",
    "Job",
    "Machine",
    "ModelSpec",
    "Outcome",
    "RaceEnd",
    "Recommended",
    "Record",
    "RunRecord",
    "Stage",
    "Status",
    "Trial",
    "Verdict",
    "VerdictKind",
    "WorkloadFacts",
    "load_run",
]

SCHEMA_VERSION = 1
# A block of the race has no more sides than this; Trial.block is the number of the block times this, plus the side.
SIDES_AT_MOST = 8


class Outcome(StrEnum):
    """How a trial ended."""

    OK = "ok"
    OUT_OF_MEMORY = "out_of_memory"
    THRASH = "thrash"
    NON_FINITE = "non_finite"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    UNSUPPORTED = "unsupported"


class Stage(StrEnum):
    """The part of the search that ordered a trial."""

    BASELINE = "baseline"
    MEMORY = "memory"  # the worst case alone, at a small batch
    SETTINGS = "settings"
    BATCH_SIZES = "batch_sizes"
    KNOBS = "knobs"  # what --knobs asks for, on the leading cells
    NUMERICS = "numerics"  # losses beside fp32's, at a learning rate that moves the weights
    HEATS = "heats"  # candidates beside each other, for who races the baseline
    RACE = "race"

    @property
    def is_race(self) -> bool:
        """Whether its trials are sides of blocks, which are compared within their block."""
        return self in (Stage.HEATS, Stage.RACE)


class Status(StrEnum):
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class VerdictKind(StrEnum):
    FASTER = "faster"
    NO_REAL_DIFFERENCE = "no_real_difference"
    SLOWER = "slower"
    NOT_MEASURED = "not_measured"


class RaceEnd(StrEnum):
    """What ended the race's final."""

    CLEAR = "clear"  # more blocks would hardly change the verdict
    LENGTH = "length"  # it has no more blocks than these
    BUDGET = "budget"


class ModelSpec(Record):
    """Which detector to build.

    name: a detector's name, a torchvision alias, `package.module:factory`, or a label where pickle_path is given.
    weights: None for seeded random ones, `default` for torchvision's, or the path of a state dict.
    image_size: shorter side in pixels (both sides for detectors of a fixed input); None for the default.
    pickle_path: a module pickled by recommend(), built by the caller.
    """

    name: str
    from_scratch: bool = False
    weights: str | None = None
    image_size: int | None = None
    pickle_path: str | None = None


class DataSpec(Record):
    """Where the images come from: `synthetic`, `coco` (annotations, images), `voc` (root), or `pickle` (a user's)."""

    kind: Literal["synthetic", "coco", "voc", "pickle"] = "synthetic"
    annotations: str | None = None
    images: str | None = None
    root: str | None = None
    pickle_path: str | None = None
    label: str | None = None
    skip_bad: bool = False


class Job(Record):
    """All that decides what a trial computes, apart from the training config.

    learning_rate: too small to move the weights, since R-CNN's speed depends on its predictions.
    memory_limit_bytes: what one trial may take; None for the device's own memory.
    threads: intra-op threads of a CPU trial; None for PyTorch's default.
    """

    model: ModelSpec
    data: DataSpec = DataSpec()
    device: str
    effective_batch: int
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-7
    seed: int = 0
    memory_limit_bytes: int | None = None
    threads: int | None = None


class WorkloadFacts(Record):
    """What was trained on: the detector as built and the images as read.

    input: the detector's input size in words. data: the data in words. images: usable images; skipped: records left
    out by --skip-bad. images_in_turn: distinct images that the timed steps replay.
    input_elements: of one image of the worst case, as the detector pads it. input_sizes: how many the detector makes of
    the images, before it pads them to batches.
    """

    model: str
    parameters: int
    trainable_parameters: int
    input: str
    data: str
    images: int
    skipped: int
    categories: int
    mean_boxes: float
    images_in_turn: int
    input_elements: int | None = None
    input_sizes: int | None = None
    notes: tuple[str, ...] = ()


class Compilation(Record):
    """What torch.compile did in a trial, from torch._dynamo's own counters.

    seconds: time that compiling took, forward and backward. graphs: compilations, backward ones too. graph_breaks: how
    often a graph ended at what cannot be compiled, at one place again each time that it was compiled. recompilations:
    of code that was compiled before, for another shape or value. at_limit: some code was compiled as often as PyTorch
    allows (torch._dynamo.config.recompile_limit), and runs uncompiled for what comes next. timed_steps: timed steps in
    which something was still compiled, and whose time holds that.
    """

    seconds: float
    graphs: int
    graph_breaks: int
    recompilations: int
    at_limit: bool = False
    timed_steps: int = 0


class Trial(Record):
    """One training config measured in one child process.

    step_ms: time of each timed optimizer step, in order, accumulation included, warm-up excluded; warmup_ms are the
    steps before them, with the worst case, worst_case_ms, after the first; rehearsal_ms those of a fresh process on a
    GPU that met the batches of the timed steps, from the second on, for the first time. steps: which of the replayed
    batches each timed step trained on.
    peak_memory_bytes: device memory reserved (CUDA), resident memory of the child (CPU), worst-case batch included.
    startup_s: from the order to the first forward pass; None where the process was already running.
    duration_s: from the order to the last answer: what the trial took from the budget.
    gave_up: the trial was cut short: it was far slower than the leader, or, where detail says so, slow on every image
    size that it had not seen before.
    losses: of the steps of a numerics trial, which are not timed.
    skipped_updates: steps in which fp16 gradients overflowed, so that the GradScaler left out the update.
    energy: of the timed steps; None where NVML told none. timeline: the GPU meanwhile; None where NVML told nothing.
    predicted_peak_bytes: what the memory fit expected of this batch, larger than those measured before it; None where
    nothing was predicted. largest_tensor_elements: of the worst case, where it was watched.
    repeated: measured again, since the trial before it was disturbed: both stand in the journal.
    compilation: what was compiled in the child up to the trial's end; None where nothing is.
    """

    number: int
    stage: Stage
    config: TrainingConfig
    outcome: Outcome
    detail: str = ""
    block: int | None = None
    worst_case_ms: float | None = None
    warmup_ms: tuple[float, ...] = ()
    rehearsal_ms: tuple[float, ...] = ()
    step_ms: tuple[PositiveFloat, ...] = ()
    steps: tuple[int, ...] = ()
    peak_memory_bytes: int | None = None
    startup_s: float | None = None
    duration_s: float = 0.0
    gave_up: bool = False
    skipped_updates: int = 0
    losses: tuple[float, ...] = ()
    compilation: Compilation | None = None
    state: DeviceState = DeviceState()
    energy: Energy | None = None
    timeline: DeviceTimeline | None = None
    predicted_peak_bytes: int | None = None
    largest_tensor_elements: int | None = None
    repeated: bool = False

    @computed_field  # type: ignore[prop-decorator]
    @property
    def images_per_second(self) -> tuple[float, ...]:
        """Throughput of each timed optimizer step, in images/s."""
        return tuple(1000.0 * self.config.images_per_step / ms for ms in self.step_ms)

    @property
    def median_images_per_second(self) -> float | None:
        """The median of the steps' throughputs in images/s, as tables have it; None where nothing was timed."""
        return median(self.images_per_second) if self.step_ms else None

    @property
    def has_stalled(self) -> bool:
        """Whether it was given up since every new image size cost it a stall, and not for its speed."""
        return self.gave_up and bool(self.detail)

    @property
    def new_batch_ms(self) -> float | None:
        """By how much longer the first step on a batch took than the next, on average, in ms: what image sizes cost
        that the process had not met. None where nothing was rehearsed."""
        pairs = list(zip(self.rehearsal_ms, self.step_ms[1:], strict=False))
        return fmean(first - again for first, again in pairs) if pairs else None

    @property
    def images_per_joule(self) -> float | None:
        """Images of the timed steps per joule; None where no energy was measured."""
        return self.config.images_per_step * len(self.step_ms) / self.energy.joules if self.energy else None

    @property
    def peak_prediction_error(self) -> float | None:
        """By what share the predicted peak memory lay above the measured one; None where either is lacking."""
        if self.outcome is not Outcome.OK or self.predicted_peak_bytes is None or not self.peak_memory_bytes:
            return None
        return self.predicted_peak_bytes / self.peak_memory_bytes - 1.0

    @property
    def disturbances(self) -> frozenset[str]:
        """What held the device back or shared it meanwhile."""
        company = ["another process on the GPU"] * bool(self.state.other_gpu_processes)
        return frozenset((*self.state.throttled, *company))


class Verdict(Record):
    """The candidate against the baseline, from the race.

    measure: what is compared: images per second, or per joule; `faster` and `slower` stand for more and less of it.
    log_ratios: one per block, ln(baseline step time / candidate step time) over the same images, or of their energies.
    ratio, low, high: how many times faster the candidate is, with its 95% interval (Student's t over the blocks);
    None where fewer than three blocks could be measured.
    race_end: None where a trial that failed ended the race, or nothing tells.
    """

    kind: VerdictKind
    candidate: TrainingConfig
    measure: Literal["speed", "energy"] = "speed"
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    log_ratios: tuple[float, ...] = ()
    race_end: RaceEnd | None = None
    sentence: str


class Recommended(Record):
    config: TrainingConfig
    verdict: Verdict


class RunRecord(Record):
    """Everything a run leaves. baseline and recommendation are None where the run ended before them.

    profile: why a step takes its time; None where none was taken. search: the search's name; empty where a step was
    profiled and nothing searched. objective: what the recommended config is the best in. knobs: the extra
    knobs that were asked for. only: the settings that were restricted to some values, as `precision=fp32,bf16`. job:
    None for the profile of a trace recorded elsewhere.
    """

    schema_version: int = SCHEMA_VERSION
    status: Status
    error: str | None = None
    command: tuple[str, ...]
    started: str
    job: Job | None
    machine: Machine | None = None
    workload: WorkloadFacts | None = None
    budget_s: float
    spent_s: float
    search: str
    objective: Literal["throughput", "memory", "energy"] = "throughput"
    knobs: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    not_tried: tuple[TrainingConfig, ...] = ()
    baseline: TrainingConfig | None = None
    trials: tuple[Trial, ...] = ()
    recommendation: Recommended | None = None
    profile: Profile | None = None

    @property
    def is_search(self) -> bool:
        """False for a record that holds a profile alone."""
        return bool(self.search)

    @property
    def standing(self) -> tuple[Trial, ...]:
        """The trials that figures come from: of a repeated one and its repeat the less disturbed, else the first."""
        first: dict[tuple[Stage, TrainingConfig, int | None], int] = {}
        dropped = set()
        for place, trial in enumerate(self.trials):
            key = (trial.stage, trial.config, trial.block)
            if not trial.repeated:
                first[key] = place
            elif key in first:
                cleaner = trial.disturbances < self.trials[first[key]].disturbances
                dropped.add(first[key] if cleaner else place)
        return tuple(trial for place, trial in enumerate(self.trials) if place not in dropped)


def load_run(path: str | Path) -> RunRecord:
    """Read a run record from a run directory or its run.json. Raises RecordError naming the field at fault."""
    path = Path(path)
    file = path / "run.json" if path.is_dir() else path
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        if (file.parent / "trials.jsonl").exists():
            raise RecordError(f"{file}: not written yet: the run was killed; the same command with --resume") from None
        raise RecordError(f"{file}: no run record can be read there ({error.strerror}); give a run directory") from None
    except UnicodeDecodeError:
        raise RecordError(f"{file}: not a run record: it is no text (nor is a grid or a trace one)") from None
    except json.JSONDecodeError:
        raise RecordError(f"{file}: not a run record: it is no JSON, or not all of it; give a run directory") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise RecordError(f"{file}: not a run record: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise RecordError(
            f"{file}: schema_version {version} is newer than this autotune reads ({SCHEMA_VERSION}); update autotune"
        )
    if field := _not_finite(content):
        raise RecordError(f"{file}: {field}: not a finite number")
    try:
        return RunRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{file}: {field}: {first['msg']}") from None


def _not_finite(content: Any) -> str | None:
    """The field of the first NaN or infinity, which Python's JSON reader lets pass; None where there is none."""
    if isinstance(content, float) and not math.isfinite(content):
        return ""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in items:
        if (below := _not_finite(value)) is not None:
            return f"{name}.{below}".rstrip(".")
    return None
