"""A training config in the words of other people's training loops.

Each says in a comment what it has no word for, rather than leaving it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autotune.config import Precision, TrainingConfig
from autotune.reports.snippet import CHANNELS_LAST_INPUT, extra_flags, optimizer_line, training_snippet

__all__ = ["Example", "examples"]


@dataclass(frozen=True)
class Example:
    """name: what it is for; code: to copy, without a newline at its end."""

    name: str
    code: str


def examples(config: TrainingConfig, device_type: str) -> list[Example]:
    """The config as YAML, then as code for each framework."""
    return [
        Example("config.yaml", config.to_yaml().rstrip("\n")),
        Example("plain PyTorch", training_snippet(config, device_type)),
        Example("torchvision references", "\n".join(_torchvision(config, device_type))),
        Example("Lightning", "\n".join(_lightning(config, device_type))),
        Example("Accelerate", "\n".join(_accelerate(config, device_type))),
        Example("Ultralytics", "\n".join(_ultralytics(config, device_type))),
    ]


def _torchvision(config: TrainingConfig, device_type: str) -> Iterator[str]:
    """references/detection/train.py: its batch is per GPU, its --amp is fp16."""
    # What PyTorch reads from the environment stands before the command.
    overrides = {Precision.FP32: "NVIDIA_TF32_OVERRIDE=0 ", Precision.TF32: "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 "}
    before = overrides.get(config.precision or Precision.DEFAULT, "") if device_type != "cpu" else ""
    amp = " --amp" if config.precision is Precision.FP16 else ""
    yield "# in references/detection of torchvision's repository; add --model, --data-path, --epochs"
    yield f"{before}python train.py --device {device_type} --batch-size {config.batch_size}{amp}"
    if config.precision is Precision.BF16:
        yield "# no flag for bf16: in engine.py give the autocast of the forward pass dtype=torch.bfloat16"
    if config.accumulation_steps > 1:
        yield f"# no flag for accumulation: update every {config.accumulation_steps} batches in engine.py"
    if config.channels_last:
        yield "# no flag for channels_last: take it from plain PyTorch, after the model is made"
    if config.cudnn_benchmark:
        yield "# no flag for cuDNN: torch.backends.cudnn.benchmark = True at the top of train.py"
    yield from (f"# no flag for {what}: {line}" for what, line in _beyond(config))


def _global_flags(config: TrainingConfig, device_type: str) -> Iterator[str]:
    if config.precision in (Precision.FP32, Precision.TF32) and device_type != "cpu":
        tf32 = config.precision is Precision.TF32
        yield f"torch.backends.cuda.matmul.allow_tf32 = {tf32}"
        yield f"torch.backends.cudnn.allow_tf32 = {tf32}"
    yield from extra_flags(config)


def _beyond(config: TrainingConfig) -> Iterator[tuple[str, str]]:
    """(what, the line of code) for the knobs that no framework's command line has a word for."""
    for line in extra_flags(config):
        yield "matmul precision", line
    if config.compile:
        yield "compile", "model.compile() after the model is made"
    if arguments := config.optimizer_arguments():
        words = ", ".join(f"{name}={value}" for name, value in arguments.items())
        yield "the optimizer's code", f"give torch.optim's class {words}"


def _model_format(config: TrainingConfig) -> Iterator[str]:
    if config.channels_last:
        yield "model = model.to(memory_format=torch.channels_last)"
        yield from CHANNELS_LAST_INPUT
    if config.compile:
        yield "model.compile()"
    yield from optimizer_line(config)


def _lightning(config: TrainingConfig, device_type: str) -> Iterator[str]:
    precision = {Precision.FP16: "16-mixed", Precision.BF16: "bf16-mixed"}.get(
        config.precision or Precision.FP32, "32-true"
    )
    yield "import torch"
    yield "from lightning.pytorch import Trainer"
    yield ""
    yield f"# loader = DataLoader(..., batch_size={config.batch_size}); model: the detector in your LightningModule"
    yield from _global_flags(config, device_type)
    yield from _model_format(config)
    yield "trainer = Trainer("
    yield f'    accelerator="{"cpu" if device_type == "cpu" else "gpu"}",'
    yield "    devices=1,"
    yield f'    precision="{precision}",'
    yield f"    accumulate_grad_batches={config.accumulation_steps},"
    if config.cudnn_benchmark is not None:
        yield f"    benchmark={config.cudnn_benchmark},"
    yield ")"


def _accelerate(config: TrainingConfig, device_type: str) -> Iterator[str]:
    precision = {Precision.FP16: "fp16", Precision.BF16: "bf16"}.get(config.precision or Precision.FP32, "no")
    cpu = "cpu=True, " if device_type == "cpu" else ""
    yield "import torch"
    yield "from accelerate import Accelerator"
    yield ""
    yield f"# loader = DataLoader(..., batch_size={config.batch_size})"
    yield from _global_flags(config, device_type)
    if config.cudnn_benchmark is not None:
        yield f"torch.backends.cudnn.benchmark = {config.cudnn_benchmark}"
    yield from _model_format(config)
    steps = config.accumulation_steps
    yield f'accelerator = Accelerator({cpu}mixed_precision="{precision}", gradient_accumulation_steps={steps})'
    yield "model, optimizer, loader = accelerator.prepare(model, optimizer, loader)"
    yield ""
    yield "for images, targets in loader:"
    yield "    with accelerator.accumulate(model):"
    yield "        loss = sum(model(images, targets).values())"
    yield "        accelerator.backward(loss)"
    yield "        optimizer.step()"
    yield "        optimizer.zero_grad()"


def _ultralytics(config: TrainingConfig, device_type: str) -> Iterator[str]:
    """Its nominal batch nbs is the effective batch: it accumulates nbs / batch times, after its warm-up."""
    device = "cpu" if device_type == "cpu" else "0"
    amp = config.precision is Precision.FP16
    yield (
        f"yolo detect train model=... data=... device={device} "
        f"batch={config.batch_size} nbs={config.images_per_step} amp={amp}"
    )
    if config.precision is Precision.BF16:
        yield "# no argument for bf16: amp=True would be fp16; wrap the forward pass in an autocast of your own"
    if config.precision is Precision.TF32:
        yield "# no argument for TF32: in a script, torch.backends.cuda.matmul.allow_tf32 = True before model.train()"
    if config.precision is Precision.FP32 and device_type != "cpu":
        yield "# no argument for TF32: NVIDIA_TF32_OVERRIDE=0 in the environment keeps it out"
    if config.channels_last:
        yield "# no argument for channels_last: model.model.to(memory_format=torch.channels_last) in a script"
    if config.cudnn_benchmark:
        yield "# no argument for cuDNN: deterministic=False, and torch.backends.cudnn.benchmark = True in a script"
    for what, line in _beyond(config):
        if what == "compile":
            yield "# compile=True among the arguments compiles the model"
        else:
            yield f"# no argument for {what}: {line}"
    if config.accumulation_steps > 1:
        yield "# it accumulates less during its warm-up epochs"
