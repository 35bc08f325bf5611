"""The training step under the knobs that --knobs asks for."""

from __future__ import annotations

import pytest
import torch

import tiny
from autotune.config import OptimizerImplementation, TrainingConfig
from autotune.records import Job, ModelSpec
from autotune.workload.step import OptimizerStep


def _trained(implementation: OptimizerImplementation, optimizer: str) -> torch.Tensor:
    torch.manual_seed(0)
    model = tiny.plain()
    config = TrainingConfig(batch_size=2, accumulation_steps=2, optimizer_implementation=implementation)
    job = Job(model=ModelSpec(name="tiny:plain"), device="cpu", effective_batch=4, optimizer=optimizer)
    step = OptimizerStep(model, config, job, torch.device("cpu"), learning_rate=0.01)
    for number in range(3):
        step(tiny.items(4), number)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_every_implementation_of_the_optimizer_trains_to_the_same_weights(optimizer):
    plain = _trained(OptimizerImplementation.DEFAULT, optimizer)
    for implementation in OptimizerImplementation:
        torch.testing.assert_close(_trained(implementation, optimizer), plain)


def test_the_implementation_reaches_the_steps_optimizer():
    config = TrainingConfig(batch_size=2, optimizer_implementation="fused")
    job = Job(model=ModelSpec(name="tiny:plain"), device="cpu", effective_batch=2)
    step = OptimizerStep(tiny.plain(), config, job, torch.device("cpu"))
    assert step.optimizer.param_groups[0]["fused"] is True
