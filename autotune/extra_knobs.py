"""The knobs that a search leaves alone unless it is asked for them: torch.optim's code, float32 products, compiling."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from autotune.knobs import Circumstances, Knob, Precision

if TYPE_CHECKING:
    import torch

    from autotune.config import TrainingConfig

__all__ = ["CompileKnob", "MatmulPrecision", "MatmulPrecisionKnob", "OptimizerImplementation", "OptimizerKnob"]


class OptimizerImplementation(StrEnum):
    """Which code of torch.optim makes the update; by `default` foreach on a GPU, for_loop on a CPU."""

    DEFAULT = "default"
    FOR_LOOP = "for_loop"
    FOREACH = "foreach"
    FUSED = "fused"


class MatmulPrecision(StrEnum):
    """torch.set_float32_matmul_precision; `default` leaves it to the precision."""

    DEFAULT = "default"
    HIGHEST = "highest"
    HIGH = "high"
    MEDIUM = "medium"


class OptimizerKnob(Knob):
    """torch.optim's foreach and fused arguments: no matter of the model, see TrainingConfig.optimizer_arguments()."""

    name = "optimizer_implementation"
    asked_as = "optimizer"

    def candidates(self, where: Circumstances) -> tuple[OptimizerImplementation, ...]:
        # On a GPU foreach is the default's own choice.
        fused, foreach = OptimizerImplementation.FUSED, OptimizerImplementation.FOREACH
        return (fused, foreach) if where.on_cpu else (fused,)

    def baseline(self, where: Circumstances) -> OptimizerImplementation:
        return OptimizerImplementation.DEFAULT

    def allows(self, value: OptimizerImplementation, where: Circumstances) -> bool:
        return True

    def label(self, value: OptimizerImplementation) -> str:
        return "" if value is OptimizerImplementation.DEFAULT else f"{value} optimizer"

    def caution(self, value: OptimizerImplementation) -> int:
        return int(value is not OptimizerImplementation.DEFAULT)


class MatmulPrecisionKnob(Knob):
    """How float32 matrix products are computed, convolutions apart."""

    name = "matmul_precision"
    asked_as = "matmul_precision"

    def candidates(self, where: Circumstances) -> tuple[MatmulPrecision, ...]:
        if where.on_cpu:
            # oneDNN computes in bf16; a processor without its instructions computes as before.
            return (MatmulPrecision.MEDIUM,) if where.native_bf16 else ()
        # cuBLAS takes medium for high.
        return (MatmulPrecision.HIGH,) if where.compute_capability >= (8, 0) else ()

    def baseline(self, where: Circumstances) -> MatmulPrecision:
        return MatmulPrecision.DEFAULT

    def allows(self, value: MatmulPrecision, where: Circumstances) -> bool:
        return True

    def idle_beside(self, value: MatmulPrecision, config: TrainingConfig) -> bool:
        """Autocast leaves no float32 products; on a GPU `default` with it is tf32, and tf32 has it already."""
        if value is MatmulPrecision.DEFAULT:
            return False
        return config.precision is not Precision.FP32

    def why_left_out(self, where: Circumstances) -> str | None:
        if where.on_cpu and not where.native_bf16:
            return "matmul_precision: it changes nothing on this CPU, which has no bf16 instructions"
        if where.on_cpu:
            return None
        if where.compute_capability >= (8, 0):
            return "matmul_precision: tried beside fp32 only: with default it is what tf32 is, and medium is high here"
        return "matmul_precision: it needs an NVIDIA GPU of compute capability 8.0 (Ampere) or later"

    def label(self, value: MatmulPrecision) -> str:
        return "" if value is MatmulPrecision.DEFAULT else f"{value} matmul precision"

    def caution(self, value: MatmulPrecision) -> int:
        """On PrecisionKnob's scale: high computes as tf32 does, medium as bf16 may."""
        alike = {MatmulPrecision.HIGH: Precision.TF32, MatmulPrecision.MEDIUM: Precision.BF16}
        return alike[value].caution if value in alike else 0

    def apply(self, value: MatmulPrecision, model: torch.nn.Module) -> None:
        if value is not MatmulPrecision.DEFAULT:
            import torch

            torch.set_float32_matmul_precision(value)


class CompileKnob(Knob):
    """torch.compile of the whole model in its default mode: shapes that vary become dynamic once they have varied."""

    name = "compile"
    asked_as = "compile"

    def candidates(self, where: Circumstances) -> tuple[bool, ...]:
        return (True,)

    def baseline(self, where: Circumstances) -> bool:
        return False

    def allows(self, value: bool, where: Circumstances) -> bool:
        return True

    def label(self, value: bool) -> str:
        return "compile" if value else ""

    def caution(self, value: bool) -> int:
        return int(value)

    def apply(self, value: bool, model: torch.nn.Module) -> None:
        if value:
            # In place: the caller's model is the compiled one, its parameters keep their names.
            model.compile()
