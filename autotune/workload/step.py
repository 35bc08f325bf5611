"""The training step: forward, loss, backward, accumulated over micro-batches, and the optimizer's update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from autotune.config import TrainingConfig
from autotune.ranges import BACKWARD, INPUTS, LOSS, UPDATE, layer_range, opened
from autotune.records import Job

__all__ = ["OptimizerStep"]

Item = tuple[torch.Tensor, dict[str, torch.Tensor]]


class OptimizerStep:
    """One whole optimizer step of a detector under a training config, as torchvision's reference loop does it.

    The config is applied to the model, in place, and to torch's global flags. Copying images and targets to the
    device is part of the step, as it is in a training loop; loading and decoding them is not.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        config: TrainingConfig,
        job: Job,
        device: torch.device,
        learning_rate: float | None = None,
    ) -> None:
        """learning_rate: in place of the job's, which moves no weight."""
        learning_rate = job.learning_rate if learning_rate is None else learning_rate
        self.config = config
        self.device = device
        self.seed = job.seed
        self.model = config.apply(model.to(device))
        self.scaler = config.grad_scaler(device.type)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        implementation: dict[str, Any] = {**config.optimizer_arguments()}
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.AdamW(trainable, lr=learning_rate, **implementation)
            if job.optimizer == "adamw"
            else torch.optim.SGD(trainable, lr=learning_rate, momentum=0.9, **implementation)
        )

    @property
    def loss_scale(self) -> float:
        """The GradScaler's scale; it falls in a step whose gradients overflowed, which then updates no weight."""
        return float(self.scaler.get_scale())

    def __call__(self, items: Sequence[Item], number: int) -> torch.Tensor:
        """Train on items in micro-batches of batch_size; returns the mean loss, a scalar on the device.

        number seeds the step's random choices (R-CNN samples its proposals), so that every config meets the same.
        """
        torch.manual_seed(self.seed + number)
        micro_batches = [
            items[first : first + self.config.batch_size] for first in range(0, len(items), self.config.batch_size)
        ]
        with layer_range(LOSS):
            total = torch.zeros((), device=self.device)
        for micro_batch in micro_batches:
            with layer_range(INPUTS):
                images = [image.to(self.device) for image, _ in micro_batch]
                targets = [{key: value.to(self.device) for key, value in target.items()} for _, target in micro_batch]
            with self.config.autocast(self.device.type):
                losses = self.model(images, targets)
                with layer_range(LOSS):
                    loss = _total_loss(losses) / len(micro_batches)
            with layer_range(LOSS):
                scaled = self.scaler.scale(loss)
            with opened(BACKWARD):
                scaled.backward()
            with layer_range(LOSS):
                total += loss.detach()
        with opened(UPDATE):
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        return total


def _total_loss(losses: Any) -> torch.Tensor:
    """The sum of the losses that a detector of torchvision's interface returns in train mode."""
    if not isinstance(losses, dict) or not losses:
        raise TypeError(f"in train mode the model must return a dict of losses, not {type(losses).__name__}")
    return torch.stack([loss.float() for loss in losses.values()]).sum()
