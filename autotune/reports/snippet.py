"""A training config as plain PyTorch, to paste into a training script that knows nothing of autotune."""

from __future__ import annotations

from collections.abc import Iterator

from autotune.config import MatmulPrecision, Precision, TrainingConfig

__all__ = ["CHANNELS_LAST_INPUT", "extra_flags", "optimizer_line", "training_snippet"]

# Detectors batch their images themselves, so that only here can the batch be turned.
CHANNELS_LAST_INPUT = (
    "# Detectors batch their images themselves: turn what reaches the first convolution.",
    "first = next(part for part in model.modules() if isinstance(part, torch.nn.Conv2d))",
    "first.register_forward_pre_hook(",
    "    lambda _, inputs: (inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:])",
    ")",
)
_AUTOCAST = {Precision.FP16: "torch.float16", Precision.BF16: "torch.bfloat16"}


def training_snippet(config: TrainingConfig, device_type: str) -> str:
    """Python source: the settings, then one optimizer step of a detector that returns a dict of losses.

    It expects `model`, `optimizer` and `loader`, which yields `config.batch_size` (images, targets) at a time, as lists
    of tensors and of dicts of tensors, still on the CPU.
    """
    return "\n".join([*_settings(config, device_type), "", *_step(config, device_type)])


def _settings(config: TrainingConfig, device_type: str) -> Iterator[str]:
    yield "import torch"
    yield ""
    yield f"# loader = DataLoader(..., batch_size={config.batch_size})"
    if config.precision in (Precision.FP32, Precision.TF32) and device_type != "cpu":
        tf32 = config.precision is Precision.TF32
        yield f"torch.backends.cuda.matmul.allow_tf32 = {tf32}"
        yield f"torch.backends.cudnn.allow_tf32 = {tf32}"
    if config.cudnn_benchmark is not None:
        yield f"torch.backends.cudnn.benchmark = {config.cudnn_benchmark}"
    yield from extra_flags(config)
    yield f'model = model.to("{device_type}"{", memory_format=torch.channels_last" if config.channels_last else ""})'
    if config.channels_last:
        yield from CHANNELS_LAST_INPUT
    if config.compile:
        yield "model.compile()"
    yield from optimizer_line(config)
    if config.precision is Precision.FP16:
        yield f'scaler = torch.amp.GradScaler("{device_type}")'


def extra_flags(config: TrainingConfig) -> Iterator[str]:
    """torch's global flags that only --knobs tries."""
    if config.matmul_precision is not MatmulPrecision.DEFAULT:
        yield f'torch.set_float32_matmul_precision("{config.matmul_precision}")'


def optimizer_line(config: TrainingConfig) -> Iterator[str]:
    """A comment, since which optimizer it is the reader knows."""
    if arguments := config.optimizer_arguments():
        words = ", ".join(f"{name}={value}" for name, value in arguments.items())
        yield f"# optimizer = torch.optim.AdamW(..., {words}), or SGD with the same"


def _step(config: TrainingConfig, device_type: str) -> Iterator[str]:
    dtype = _AUTOCAST.get(config.precision or Precision.FP32)
    scaled = config.precision is Precision.FP16
    steps = config.accumulation_steps
    forward = "loss = sum(model(images, targets).values())" + (f" / {steps}" if steps > 1 else "")
    yield "for number, (images, targets) in enumerate(loader, start=1):"
    if device_type != "cpu":
        yield f'    images = [image.to("{device_type}") for image in images]'
        yield f'    targets = [{{key: part.to("{device_type}") for key, part in target.items()}} for target in targets]'
    if dtype:
        yield f'    with torch.autocast("{device_type}", dtype={dtype}):'
        yield f"        {forward}"
    else:
        yield f"    {forward}"
    yield "    scaler.scale(loss).backward()" if scaled else "    loss.backward()"
    indent = "    "
    if steps > 1:
        yield f"    if number % {steps} == 0:"
        indent *= 2
    yield from (f"{indent}{line}" for line in (_SCALED_UPDATE if scaled else _UPDATE))


_UPDATE = ("optimizer.step()", "optimizer.zero_grad(set_to_none=True)")
_SCALED_UPDATE = ("scaler.step(optimizer)", "scaler.update()", "optimizer.zero_grad(set_to_none=True)")
