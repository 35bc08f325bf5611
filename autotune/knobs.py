"""The knobs of a training config: for each the values worth measuring, its baseline, its label, how to apply it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from autotune.config import TrainingConfig

__all__ = [
    "AccumulationKnob",
    "BatchSizeKnob",
    "ChannelsLastKnob",
    "Circumstances",
    "CudnnBenchmarkKnob",
    "Knob",
    "Precision",
    "PrecisionKnob",
]


class Precision(StrEnum):
    """How the step computes; `default` is PyTorch untouched: TF32 in convolutions, not in matrix products."""

    DEFAULT = "default"
    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"
    BF16 = "bf16"

    @property
    def caution(self) -> int:
        """Rank for ties: 0 for the safest numerics."""
        return _NUMERICS.index(self)


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
    """One tunable dimension.

    asked_as: the word by which --knobs asks for it; empty for a knob of every search.
    """

    name: str
    asked_as = ""

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

    def idle_beside(self, value: Any, config: TrainingConfig) -> bool:
        """Whether the value changes nothing beside the config's other knobs."""
        return False

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
        return value.caution

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
