"""How far the losses of a numerics check lie from fp32's: of sound runs, and of broken ones.

Run by hand: python -m benchmarks.numerics [--seeds 3]. Detectors train from random weights on synthetic images, on the
CPU, as a numerics check does; see benchmarks/README.md.

Sound: bf16; and fp32 from weights that are off by up to bf16's rounding, 2^-9, which says how far any two runs part.
Broken: no update comes through; gradients of the wrong sign; each layer's output rounded to two bits of mantissa.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from statistics import median

import torch
import typer
from tabulate import tabulate

from autotune.config import Precision, TrainingConfig
from autotune.records import DataSpec, Job, ModelSpec
from autotune.tuner.child import LEARNING_RATE
from autotune.tuner.numerics import STEPS, apart, late
from autotune.workload.prepare import Prepared, prepare
from autotune.workload.step import OptimizerStep

MODELS = ("frcnn_mobilenet", "frcnn_resnet50", "ssdlite320_mobilenet", "retinanet_resnet50", "fcos_resnet50")
EFFECTIVE_BATCH = 4
IMAGE_SIZE = 128


def losses(prepared: Prepared, precision: Precision, change: Callable[[OptimizerStep], None] | None) -> list[float]:
    """Of a few steps with updates, from the same weights each time; change: what is done to them before."""
    job = prepared.job
    config = TrainingConfig(batch_size=EFFECTIVE_BATCH, accumulation_steps=1, precision=precision)
    model = copy.deepcopy(prepared.model)
    step = OptimizerStep(model, config, job, torch.device("cpu"), LEARNING_RATE[job.optimizer])
    if change:
        change(step)
    return [float(step(prepared.pool.step(number), number)) for number in range(STEPS)]


@torch.no_grad()
def off_by_a_rounding(step: OptimizerStep) -> None:
    drawn = torch.Generator().manual_seed(step.seed)
    for parameter in step.model.parameters():
        parameter *= 1.0 + (2.0 * torch.rand(parameter.shape, generator=drawn) - 1.0) * 2.0**-9


def no_update(step: OptimizerStep) -> None:
    for group in step.optimizer.param_groups:
        group["lr"] = 0.0


def wrong_sign(step: OptimizerStep) -> None:
    for parameter in step.model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(torch.neg)


def two_bits(step: OptimizerStep) -> None:
    def rounded(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        mantissa, exponent = torch.frexp(output.detach())
        return output + (torch.ldexp(torch.round(mantissa * 4.0) / 4.0, exponent) - output.detach())

    for module in step.model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(rounded)


RUNS: dict[str, tuple[Precision, Callable[[OptimizerStep], None] | None]] = {
    "bf16": (Precision.BF16, None),
    "fp32, off by a rounding": (Precision.FP32, off_by_a_rounding),
    "no update": (Precision.FP32, no_update),
    "wrong sign": (Precision.FP32, wrong_sign),
    "two bits": (Precision.FP32, two_bits),
}


def main(seeds: int = 3) -> None:
    rows = []
    for model in MODELS:
        distances: dict[str, list[list[float]]] = {name: [] for name in RUNS}
        for seed in range(seeds):
            job = Job(
                model=ModelSpec(name=model, image_size=IMAGE_SIZE),
                data=DataSpec(),
                device="cpu",
                effective_batch=EFFECTIVE_BATCH,
                seed=seed,
            )
            prepared = prepare(job)
            plain = losses(prepared, Precision.FP32, None)
            for name, (precision, change) in RUNS.items():
                distances[name].append(apart(losses(prepared, precision, change), plain))
                print(model, seed, name, [round(each, 3) for each in distances[name][-1]], flush=True)
        for name, found in distances.items():
            told = [sorted(map(of, found)) for of in (median, late, max)]
            rows.append((model, name, *(f"{each[0]:.1%} to {each[-1]:.1%}" for each in told)))
    print(tabulate(rows, ("detector", "run", "median over steps", "mean over the last half", "largest")))


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    typer.run(main)
