"""The training config: one value for every knob, and how each is applied to a model.

A knob is a field of TrainingConfig, annotated with the one small class that knows its candidate values, its
baseline, its label and how to apply it. Adding a knob is adding that class and that field, here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autotune.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["KNOBS", "Circumstances", "Knob", "Precision", "TrainingConfig"]


class Precision(StrEnum):
    """How the step computes; `default` is PyTorch untouched: TF32 in convolutions, not in matrix products."""

    DEFAULT = "default"
    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"


# Each follows from the other and the effective batch; the remaining knobs are settings.
_BATCH = ("batch_size", "accumulation_steps")

# Safer numerics first: the order in which ties are decided.
_NUMERICS = (Precision.FP32, Precision.DEFAULT, Precision.TF32, Precision.BF16, Precision.FP16)


@dataclass(frozen=True)
class Circumstances:
    """What decides which values of a knob make sense.

    compute_capability: (major, minor) of an NVIDIA GPU, (0, 0) on a CPU.
    native_bf16: PyTorch has vectorised bf16 kernels for the processor; its reference code is many times slower.
    """

    device_type: str
    effective_batch: int
    compute_capability: tuple[int, int] = (0, 0)
    native_bf16: bool = False

    @property
    def on_cpu(self) -> bool:
        return self.device_type == "cpu"


class Knob(ABC):
    """One tunable dimension."""

    name: str

    @abstractmethod
    def candidates(self, where: Circumstances) -> tuple[Any, ...]:
        """Values worth measuring, the most promising first; empty where the knob means nothing or follows another."""

    @abstractmethod
    def baseline(self, where: Circumstances) -> Any:
        """The value of an untuned training loop; None where the knob means nothing."""

    def why_left_out(self, where: Circumstances) -> str | None:
        """A sentence for the report where the knob is left out."""
        return None

    def allows(self, value: Any, where: Circumstances) -> bool:
        """Whether a user may ask for the value on the device, worth measuring or not."""
        return value in (*self.candidates(where), self.baseline(where))

    @abstractmethod
    def label(self, value: Any) -> str:
        """The value in a table or a sentence; empty for a value that goes without saying."""

    def caution(self, value: Any) -> int:
        """Rank for ties: 0 for the plainest setting, more for riskier numerics or a less simple setting."""
        return 0

    def apply(self, value: Any, model: torch.nn.Module) -> None:  # noqa: B027, batch sizes have nothing to set
        """Set the value on the model and in torch's global flags."""


class BatchSizeKnob(Knob):
    """Images per forward pass: a divisor of the effective batch, so that accumulation restores it exactly."""

    name = "batch_size"

    def candidates(self, where: Circumstances) -> tuple[int, ...]:
        whole = where.effective_batch
        return tuple(size for size in range(whole, 0, -1) if whole % size == 0)

    def baseline(self, where: Circumstances) -> int:
        return where.effective_batch

    def label(self, value: int) -> str:
        return f"batch {value}"


class AccumulationKnob(Knob):
    """Forward and backward passes per optimizer step: follows from the batch size."""

    name = "accumulation_steps"

    def candidates(self, where: Circumstances) -> tuple[int, ...]:
        return ()

    def baseline(self, where: Circumstances) -> int:
        return 1

    def label(self, value: int) -> str:
        return f"x {value}"


class PrecisionKnob(Knob):
    """Autocast and TF32."""

    name = "precision"

    def candidates(self, where: Circumstances) -> tuple[Precision, ...]:
        if where.on_cpu:
            return (Precision.BF16, Precision.FP32) if where.native_bf16 else (Precision.FP32,)
        if where.compute_capability >= (8, 0):
            return (Precision.BF16, Precision.FP16, Precision.TF32, Precision.DEFAULT, Precision.FP32)
        return (Precision.FP16, Precision.DEFAULT)

    def baseline(self, where: Circumstances) -> Precision:
        return Precision.FP32 if where.on_cpu else Precision.DEFAULT

    def why_left_out(self, where: Circumstances) -> str | None:
        if where.on_cpu and not where.native_bf16:
            return "precision: only fp32 is tried: bf16 has no fast code for this CPU, and fp16 and TF32 are for GPUs"
        if where.on_cpu:
            return "precision: only fp32 and bf16 are tried on a CPU: fp16 and TF32 are for GPUs"
        if where.compute_capability < (8, 0):
            return "precision: tf32 and bf16 need an NVIDIA GPU of compute capability 8.0 (Ampere) or later"
        return None

    def allows(self, value: Precision, where: Circumstances) -> bool:
        if where.on_cpu:
            return value in (Precision.FP32, Precision.BF16)
        return value not in (Precision.TF32, Precision.BF16) or where.compute_capability >= (8, 0)

    def label(self, value: Precision) -> str:
        return str(value)

    def caution(self, value: Precision) -> int:
        return _NUMERICS.index(value)

    def apply(self, value: Precision, model: torch.nn.Module) -> None:
        if value not in (Precision.FP32, Precision.TF32):
            return
        import torch

        # The older of torch's two ways: reading the older flags raises once the newer ones were set, and code that
        # reads them is everywhere.
        torch.backends.cuda.matmul.allow_tf32 = value is Precision.TF32
        torch.backends.cudnn.allow_tf32 = value is Precision.TF32


class ChannelsLastKnob(Knob):
    """Memory format NHWC of the model and of the batch that its own transform makes."""

    name = "channels_last"

    def candidates(self, where: Circumstances) -> tuple[bool, ...]:
        return (True, False)

    def baseline(self, where: Circumstances) -> bool:
        return False

    def label(self, value: bool) -> str:
        return "channels_last" if value else ""

    def caution(self, value: bool) -> int:
        return int(value)

    def apply(self, value: bool, model: torch.nn.Module) -> None:
        if value:
            from autotune.channels_last import use_channels_last

            use_channels_last(model)


class CudnnBenchmarkKnob(Knob):
    """cuDNN's autotuner: a gain at one fixed input size, a loss where sizes vary."""

    name = "cudnn_benchmark"

    def candidates(self, where: Circumstances) -> tuple[bool, ...]:
        return () if where.on_cpu else (False, True)

    def baseline(self, where: Circumstances) -> bool | None:
        return None if where.on_cpu else False

    def why_left_out(self, where: Circumstances) -> str | None:
        return "cudnn_benchmark: cuDNN runs on NVIDIA GPUs only" if where.on_cpu else None

    def label(self, value: bool) -> str:
        return "cudnn.benchmark" if value else ""

    def caution(self, value: bool) -> int:
        return int(value)

    def apply(self, value: bool, model: torch.nn.Module) -> None:
        import torch

        torch.backends.cudnn.benchmark = value


class TrainingConfig(BaseModel):
    """One value for every knob; None where a knob means nothing on the device."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: Annotated[int, Field(ge=1), BatchSizeKnob()]
    accumulation_steps: Annotated[int, Field(ge=1), AccumulationKnob()] = 1
    precision: Annotated[Precision | None, PrecisionKnob()] = None
    channels_last: Annotated[bool | None, ChannelsLastKnob()] = None
    cudnn_benchmark: Annotated[bool | None, CudnnBenchmarkKnob()] = None

    @classmethod
    def baseline(cls, where: Circumstances, batch_size: int | None = None) -> TrainingConfig:
        """PyTorch's defaults at the effective batch, or at batch_size, a divisor of it, with accumulation."""
        untuned = cls(**{knob.name: knob.baseline(where) for knob in KNOBS})
        return untuned.at_batch_size(batch_size or where.effective_batch, where.effective_batch)

    @property
    def images_per_step(self) -> int:
        """Images per optimizer step on one device."""
        return self.batch_size * self.accumulation_steps

    def at_batch_size(self, batch_size: int, effective_batch: int) -> TrainingConfig:
        """The same settings at another batch size, accumulation restoring the effective batch exactly."""
        if effective_batch % batch_size:
            raise UsageError(f"batch_size {batch_size} does not divide the effective batch {effective_batch}")
        return self.model_copy(update={"batch_size": batch_size, "accumulation_steps": effective_batch // batch_size})

    def label(self) -> str:
        """The config in a sentence: `bf16 + channels_last, batch 4 x 4`."""
        accumulation = f" x {self.accumulation_steps}" if self.accumulation_steps > 1 else ""
        return f"{self.settings_label()}, batch {self.batch_size}{accumulation}"

    def settings_label(self) -> str:
        """The label without the batch, the same for every batch size of one combination of settings."""
        settings = [
            text
            for knob in KNOBS
            if knob.name not in _BATCH
            and (value := getattr(self, knob.name)) is not None
            and (text := knob.label(value))
        ]
        return " + ".join(settings) or "defaults"

    def for_device(self, where: Circumstances) -> TrainingConfig:
        """This config on a device: knobs that were left open get the untuned value, those without a meaning none.

        Raises UsageError for a value that the device cannot take.
        """
        values = {}
        for knob in KNOBS:
            value, untuned = getattr(self, knob.name), knob.baseline(where)
            if value is None or untuned is None:
                value = value if value else None
                if value is not None:
                    raise UsageError(f"{knob.name} {value} means nothing on a {where.device_type}; leave it out")
                values[knob.name] = untuned
                continue
            if knob.name not in _BATCH and not knob.allows(value, where):
                raise UsageError(f"{knob.name} {value} cannot be used on this {where.device_type}; leave it out")
            values[knob.name] = value
        return TrainingConfig(**values)

    def caution(self) -> tuple[int, ...]:
        """Ranks for ties, precision first: the smaller is the safer and simpler config."""
        values = {knob: getattr(self, knob.name) for knob in KNOBS}
        ranks = {knob.name: 0 if value is None else knob.caution(value) for knob, value in values.items()}
        return (ranks.pop("precision"), *ranks.values())

    def apply(self, model: torch.nn.Module) -> torch.nn.Module:
        """Set every knob on the model, in place, and in torch's global flags; returns the model."""
        for knob in KNOBS:
            value = getattr(self, knob.name)
            if value is not None:
                knob.apply(value, model)
        return model

    def autocast(self, device_type: str) -> torch.autocast:
        """The context for the forward pass and the loss; does nothing unless precision is fp16 or bf16."""
        import torch

        dtype = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}.get(self.precision or Precision.FP32)
        return torch.autocast(device_type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)

    def grad_scaler(self, device_type: str) -> torch.amp.GradScaler:
        """The loss scaler of the step; it passes everything through unless precision is fp16."""
        import torch

        return torch.amp.GradScaler(device_type, enabled=self.precision is Precision.FP16)

    def to_yaml(self) -> str:
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))

    def save(self, path: str | Path) -> None:
        """Write the config as YAML."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> TrainingConfig:
        """Read a config from YAML. Raises UsageError where the file is absent or holds something else."""
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(
                f"{path}: not a readable training config ({error}); give a YAML file as in config.yaml"
            ) from None
        if not isinstance(content, Mapping):
            raise UsageError(
                f"{path}: a training config is a mapping of knobs to values; config.yaml of any run shows one"
            )
        try:
            return cls(**{str(key): value for key, value in content.items()})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UsageError(f"{path}: {field}: {first['msg']} (got {first['input']!r})") from None


def _knobs() -> tuple[Knob, ...]:
    fields = TrainingConfig.model_fields.values()
    return tuple(part for field in fields for part in field.metadata if isinstance(part, Knob))


KNOBS: tuple[Knob, ...] = _knobs()
