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


def _environment(config: TrainingConfig, device_type: str) -> str:
    """What CUDA's libraries and PyTorch read from the environment, to stand before a command."""
    variables = {Precision.FP32: "NVIDIA_TF32_OVERRIDE=0 ", Precision.TF32: "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 "}
    return variables.get(config.precision or Precision.DEFAULT, "") if device_type != "cpu" else ""


def _torchvision(config: TrainingConfig, device_type: str) -> Iterator[str]:
    """references/detection/train.py: its batch is per GPU, its --amp is fp16 and the only switch of its autocast."""
    amp = " --amp" if config.precision is Precision.FP16 else ""
    yield "# in references/detection of torchvision's repository; add --model, --data-path, --epochs"
    before = _environment(config, device_type)
    yield f"{before}python train.py --device {device_type} --batch-size {config.batch_size}{amp}"
    if config.precision is Precision.BF16:
        autocast = f'torch.autocast("{device_type}", dtype=torch.bfloat16)'
        yield f"# no flag for bf16: in engine.py put {autocast} in place of the forward pass's autocast"
    if (steps := config.accumulation_steps) > 1:
        yield f"# no flag for accumulation: update every {steps} batches in engine.py, losses divided by {steps}"
    if config.channels_last:
        yield "# no flag for channels_last: take it from plain PyTorch, after the model is made"
    if config.cudnn_benchmark:
        yield "# no flag for cuDNN: torch.backends.cudnn.benchmark = True at the top of train.py"
    yield from (f"# no flag for {what}: {line}" for what, line in _beyond(config))
    if config.compile:
        yield "# no flag for compile: model.compile() after the model is made"


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
    """Its nominal batch nbs is the effective batch: it accumulates nbs / batch times, after its warm-up.

    Left alone it asks for deterministic algorithms, and on a GPU for channels_last: neither is what was measured.
    It builds a model of its own as training starts, so that only a callback reaches the one that is trained.
    """
    on_cpu = device_type == "cpu"
    own_bf16 = config.precision is Precision.BF16 and not on_cpu
    own_channels_last = config.channels_last is not None and not on_cpu
    arguments = {
        "device": "cpu" if on_cpu else "0",
        "batch": config.batch_size,
        "nbs": config.images_per_step,
        "amp": "bf16" if own_bf16 else config.precision is Precision.FP16,
        "deterministic": False,
        **({"channels_last": config.channels_last} if own_channels_last else {}),
        **({"compile": True} if config.compile else {}),
    }
    words = " ".join(f"{name}={value}" for name, value in arguments.items())
    yield f"{_environment(config, device_type)}yolo detect train model=... data=... {words}"
    if own_bf16:
        yield "# amp=bf16 needs ultralytics 8.4.129 or later"
    if own_channels_last:
        yield "# channels_last needs ultralytics 8.4.105 or later; leave it out of an earlier one, which never does it"
    if config.precision is Precision.BF16 and on_cpu:
        yield "# no argument for bf16 on a CPU: in a script, before model.train(),"
        yield _on_train_start('setattr(t.model, "forward", torch.autocast("cpu", torch.bfloat16)(t.model.forward))')
    if config.channels_last and on_cpu:
        yield "# no argument for channels_last on a CPU: in a script, before model.train(),"
        yield _on_train_start("t.model.to(memory_format=torch.channels_last)")
    if config.cudnn_benchmark:
        yield "# no argument for cuDNN: torch.backends.cudnn.benchmark = True in a script, before model.train()"
    yield from (f"# no argument for {what}: {line}" for what, line in _beyond(config))
    if config.accumulation_steps > 1:
        yield "# it accumulates less during its warm-up epochs"


def _on_train_start(call: str) -> str:
    return f'#   model.add_callback("on_train_start", lambda t: {call})'
